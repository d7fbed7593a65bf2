"""Our own processes on this computer, each with a scheduler and a worker."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from napari_foundseg.core.errors import EngineError
from napari_foundseg.engine.certificates import Certificates
from napari_foundseg.engine.error_translation import death_error
from napari_foundseg.engine.worker_source import Connection, OnDeath, WorkerHandle, WorkerSource
from napari_foundseg.io.preferences import engine_environment

__all__ = ["SOURCE", "EngineProcess", "OwnProcessSource"]

_START_SECONDS = 60.0
_TAIL_BYTES = 20_000
#: Torch, NumPy and SciPy read these when they are loaded; a later call reaches only some of their thread pools.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class OwnProcessSource(WorkerSource):
    """Our own processes, started for each handle and ended with it."""

    form = "empty for a process on this computer"
    owns_workers = True
    shares_files = True
    reports_death = True

    @classmethod
    def accepts(cls, address: str) -> bool:
        """Tell whether the address is empty."""
        return not address

    def describe(self) -> str:
        """Return "on this computer"."""
        return "on this computer"

    def start_worker(self, on_death: OnDeath, threads: int | None) -> WorkerHandle:
        """Start a process."""
        return EngineProcess(on_death, threads)

    def threads_per_worker(self, workers: int) -> int:
        """Divide the processors among the workers."""
        return max(1, _count_processors() // workers)


class EngineProcess(WorkerHandle):
    """A process ``python -m napari_foundseg.engine``, started at once.

    If the process ends without `stop`, `on_death` is called with an EngineError, on a separate thread.
    """

    def __init__(self, on_death: OnDeath, threads: int | None = None) -> None:
        self._on_death = on_death
        self.folder = Path(tempfile.mkdtemp(prefix="napari-foundseg-"))
        self._stopping = False
        # A file, since a pipe that nobody reads fills up and blocks the process.
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                # -P: a module must not be imported from the folder in which napari was started.
                [sys.executable, "-P", "-m", "napari_foundseg.engine", str(os.getpid()), str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=engine_environment() | ({} if threads is None else dict.fromkeys(_THREAD_VARIABLES, str(threads))),
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        self.pid = self._process.pid
        self._watcher = threading.Thread(target=self._watch, name="foundseg-child", daemon=True)
        self._watcher.start()

    def connect(self) -> Connection:
        """Wait, at most a minute, until the process serves; read its address and certificates."""
        assert self._process.stdout is not None  # PIPE was requested
        slow = threading.Timer(_START_SECONDS, self._process.kill)
        slow.daemon = True
        slow.start()
        try:
            line = self._process.stdout.readline()
            answer = json.loads(line)
        except ValueError as error:
            raise EngineError(f"The engine did not start.\n{self.log_tail()}") from error
        finally:
            slow.cancel()
        return Connection(answer["address"], Certificates(**answer["certificates"]), direct=True)

    def log_tail(self) -> str:
        """Return the last 20,000 bytes that the process wrote."""
        try:
            with (self.folder / "log").open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL_BYTES))
                return log.read().decode(errors="replace").strip()
        except OSError:
            return ""

    def is_stopped(self) -> bool:
        """Tell whether the process was stopped (SIGSTOP)."""
        import psutil

        try:
            return bool(psutil.Process(self._process.pid).status() == psutil.STATUS_STOPPED)
        except psutil.Error:
            return False

    def stop(self) -> None:
        """End the process at once and remove its folder; can be called from any thread, and more than once."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._process.kill()
        if threading.current_thread() is not self._watcher:
            self._watcher.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _watch(self) -> None:
        code = self._process.wait()
        if not self._stopping:
            self._on_death(death_error(code, self.log_tail()))


def _count_processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


SOURCE = OwnProcessSource

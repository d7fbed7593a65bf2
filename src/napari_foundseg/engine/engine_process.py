"""The engine's own process, seen from the window."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from napari_foundseg.core.errors import EngineError
from napari_foundseg.engine.certificates import Certificates
from napari_foundseg.engine.error_translation import of_death

__all__ = ["Child"]

_START_SECONDS = 60.0
_TAIL_BYTES = 20_000
#: Torch, NumPy and SciPy look at these when they are loaded; a later call reaches only some of their thread pools.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Child:
    """A process ``python -m napari_foundseg.engine``, started at once.

    Parameters
    ----------
    on_death : callable
        Called with an EngineError on a thread of its own, at once when the process ends by itself.
    threads : int, optional
        How many threads it computes with; by default what its libraries choose.
    """

    def __init__(self, on_death: Callable[[EngineError], None], threads: int | None = None) -> None:
        self._on_death = on_death
        self._folder = Path(tempfile.mkdtemp(prefix="napari-foundseg-"))
        self._stopping = False
        self.dead = False
        # A file, since a pipe that nobody reads fills up and stops the process.
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                # -P: a file named like a module in the folder where napari was started must not be imported.
                [sys.executable, "-P", "-m", "napari_foundseg.engine", str(os.getpid()), str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=None if threads is None else os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads)),
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        self._watcher = threading.Thread(target=self._watch, name="foundseg-child", daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        """The process number."""
        return self._process.pid

    def greeting(self) -> tuple[str, Certificates]:
        """Wait until the process serves.

        Returns
        -------
        str
            Its address.
        Certificates
            To show there.

        Raises
        ------
        EngineError
            If it ended, or did not serve within a minute.
        """
        assert self._process.stdout is not None  # a pipe was asked for
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
        return answer["address"], Certificates(**answer["certificates"])

    def log_tail(self) -> str:
        """Return the end of what the process wrote.

        Returns
        -------
        str
            At most 20,000 bytes.
        """
        try:
            with (self._folder / "log").open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL_BYTES))
                return log.read().decode(errors="replace").strip()
        except OSError:
            return ""

    def stop(self) -> None:
        """End the process at once and remove its folder; from any thread, any number of times."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._process.kill()
        if threading.current_thread() is not self._watcher:
            self._watcher.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _watch(self) -> None:
        code = self._process.wait()
        self.dead = True
        if not self._stopping:
            self._on_death(of_death(code, self.log_tail()))

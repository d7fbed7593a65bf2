"""The engine's own process: scheduler and worker on one event loop, reachable only from this computer.

It must never outlive the window, so it ends when its standard input closes or when its parent has ended. Both are
checked: a process forked from the window can keep the pipe open, and another process can get the parent's number.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_foundseg.engine.certificates import make_certificates
from napari_foundseg.engine.waiting_threads import shorten_busy_waiting

if TYPE_CHECKING:
    from distributed.security import Security

    from napari_foundseg.engine.certificates import Certificates

__all__ = ["main"]

_POLL_SECONDS = 1.0
_HANDSHAKE_SECONDS = 10.0
#: Difference between the engine's priority and the window's; if nothing else runs, it does not slow the engine down.
_NICER = 5
#: Size at which the log is emptied, so that a library that logs much cannot fill the disk.
_LOG_BYTES = 1 << 20
_CONFIG: dict[str, Any] = {
    # A task that killed its worker must not be retried silently.
    "distributed.scheduler.allowed-failures": 0,
    # A long encode must not look like a lost worker, nor a large image like a leak, which would be paused or killed.
    "distributed.scheduler.worker-ttl": None,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.diagnostics.nvml": False,
    "distributed.comm.require-encryption": True,
}


def main() -> None:
    """Serve until the window has ended; the arguments are the window's process number and a private folder."""
    parent = int(sys.argv[1])
    folder = Path(sys.argv[2])
    _keep_to(folder)
    # Output of libraries goes to the log, not to the pipe from which the window reads one line.
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        # Ctrl+C in the terminal is meant for the window, which then ends this process.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _offer_to_the_oom_killer()
        _compute_when_the_window_rests()
        shorten_busy_waiting()
        threading.Thread(target=_end_with_stdin, args=(folder,), daemon=True).start()
        threading.Thread(target=_end_with_parent, args=(parent, folder), daemon=True).start()
        asyncio.run(_serve(folder, answer))


def _keep_to(folder: Path) -> None:
    """Keep temporary files of libraries out of the shared folder, where file names that others can predict are a risk.

    dask empties a lock file there, which may be a link to any of the user's files, and imports modules from its folder.
    """
    folder.chmod(0o700)
    os.environ.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder)))
    tempfile.tempdir = str(folder)


def _offer_to_the_oom_killer() -> None:
    """Let the system end this process if memory runs out, and not the window with the annotations."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def _compute_when_the_window_rests() -> None:
    """Give the window priority for the processor, even if all cores compute; the window needs little."""
    import psutil

    with contextlib.suppress(psutil.Error):
        own = psutil.Process()
        if sys.platform == "win32":
            own.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        else:
            own.nice(min(own.nice() + _NICER, 19))


def _end_with_stdin(folder: Path) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    _end(folder)


def _end_with_parent(number: int, folder: Path) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(number)
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            _bound_log()
            time.sleep(_POLL_SECONDS)
    _end(folder)


def _bound_log() -> None:
    with contextlib.suppress(OSError):
        if os.fstat(2).st_size > _LOG_BYTES:
            os.ftruncate(2, 0)


def _end(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    # A compute thread may be busy in a library; a normal exit would wait for it.
    os._exit(0)


def _limit_handshakes() -> None:
    """Close connections that are not encrypted in time; otherwise they would stay open and use up the sockets."""
    from distributed.comm.tcp import TLSListener

    prepare: Any = TLSListener._prepare_stream

    async def prepare_soon(self: Any, stream: Any, address: Any) -> Any:
        try:
            return await asyncio.wait_for(prepare(self, stream, address), _HANDSHAKE_SECONDS)
        except TimeoutError:
            stream.close()
            return None

    TLSListener._prepare_stream = prepare_soon  # type: ignore[method-assign]


async def _serve(folder: Path, answer: Any) -> None:
    import dask
    from distributed import Scheduler, Worker

    class LocalScheduler(_NoWebServer, Scheduler):
        pass

    class LocalWorker(_NoWebServer, Worker):
        pass

    _limit_handshakes()
    dask.config.refresh(paths=[], env={})
    dask.config.set(_CONFIG)
    server, client = make_certificates()
    both: dict[str, Any] = {
        "host": "127.0.0.1",
        "protocol": "tls",
        "security": _security(server),
        "dashboard": False,
        "local_directory": str(folder),
    }
    async with (
        LocalScheduler(port=0, **both) as scheduler,
        LocalWorker(scheduler.address, nthreads=1, memory_limit=0, **both),
    ):
        json.dump({"address": scheduler.address, "certificates": asdict(client)}, answer)
        answer.write("\n")
        answer.close()
        await scheduler.finished()


def _security(certificates: Certificates) -> Security:
    from distributed.security import Security

    sides = {f"tls_{side}_{part}": getattr(certificates, part)
             for side in ("scheduler", "worker", "client") for part in ("cert", "key")}  # fmt: skip
    return Security(  # type: ignore[no-untyped-call]
        require_encryption=True, tls_ca_file=certificates.ca, **sides
    )


class _NoWebServer:
    """Mixin that opens no port for a dashboard; dask's nodes open an unencrypted one even if it is switched off."""

    def start_http_server(self, *args: Any, **kwargs: Any) -> None:
        """Open no port."""

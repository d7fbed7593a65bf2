"""What each worker of pytest-xdist has to itself: a share of the processors, and a display."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def share_processors() -> None:
    """Give the libraries of a worker its share of the threads; torch reads this when it is imported.

    Threads that wait for their next work sleep: by default they spin, which takes the processors from the engines,
    batches and windows that run at the same time (a test of two batches took 14 s of processor time instead of 1).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    if count > 1:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // count)))


class Displays:
    """Virtual displays, one a worker: windows of two workers on one display take the keyboard from each other."""

    def __init__(self) -> None:
        self._servers: list[subprocess.Popen[bytes]] = []

    def start(self) -> str | None:
        """Return the name of a new display, or None where no server for one is installed."""
        program = shutil.which("Xvfb")
        if not sys.platform.startswith("linux") or program is None:
            return None
        out, into = os.pipe()
        command = [program, "-displayfd", str(into), "-screen", "0", "1920x1080x24", "-nolisten", "tcp"]
        self._servers.append(subprocess.Popen(command, pass_fds=[into], stderr=subprocess.DEVNULL))
        os.close(into)
        with os.fdopen(out) as file:
            number = file.readline().strip()
        return f":{number}" if number else None

    def stop(self) -> None:
        for server in self._servers:
            server.terminate()
            server.wait()
        self._servers.clear()

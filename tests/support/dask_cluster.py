"""A dask scheduler with TLS and some workers on this computer, as an administrator starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_foundseg.engine.certificates import Certificates, make_certificates
from napari_foundseg.engine.worker_source import find_worker_source

#: On the path of a worker, it hides the folder `FOUNDSEG_TEST_HIDDEN` from it.
BLIND_SITE = Path(__file__).parent / "blind_site"
_QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class DaskCluster:
    """Processes of a scheduler and its workers; `environment` of a worker says what it sees."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.threads = str(find_worker_source("").threads_per_worker(2))
        self._folder = folder
        server, client = make_certificates()
        self._server = _write(folder, "server", server)
        self.client = _write(folder, "client", client)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "--port", "0")
        self.address = str(json.loads(self._wait_for(folder / "scheduler.json").read_text())["address"])

    def add_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        name = f"worker-{len(self._processes)}"
        # As many threads as each of two processes of our own has here: sums differ in the last digit otherwise.
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), self.threads)
        return self._start("worker", "--no-nanny", "--nthreads", "1", "--name", name, **environment)

    def set_certificates(self, patch: pytest.MonkeyPatch) -> None:
        """Name the client's certificates as a user does."""
        for name in ("ca", "cert", "key"):
            patch.setenv(f"FOUNDSEG_TLS_{name.upper()}", getattr(self.client, name))

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _start(self, kind: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", f"distributed.cli.dask_{kind}", "--host", "tls://127.0.0.1", "--no-dashboard",
            "--scheduler-file", str(self._folder / "scheduler.json"), *options,
            "--tls-ca-file", self._server.ca, "--tls-cert", self._server.cert, "--tls-key", self._server.key,
        ]  # fmt: skip
        process = subprocess.Popen(command, env=os.environ | environment, cwd=self._folder, **_QUIET)
        self._processes.append(process)
        return process

    def _wait_for(self, file: Path) -> Path:
        end = time.monotonic() + 60
        while not file.exists() or not file.read_text():
            assert self._processes[-1].poll() is None, "the scheduler ended"
            assert time.monotonic() < end, "the scheduler did not start"
            time.sleep(0.05)
        return file


def _write(folder: Path, name: str, certificates: Certificates) -> Certificates:
    paths = [folder / f"{name}-{part}.pem" for part in ("ca", "cert", "key")]
    for path, text in zip(paths, (certificates.ca, certificates.cert, certificates.key), strict=True):
        path.write_text(text)
    return Certificates(*map(str, paths))

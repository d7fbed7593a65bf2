"""A place where tasks run that exists in the tests alone: processes that a shell starts, at ``toy://anything``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading

from napari_foundseg.core.errors import EngineError
from napari_foundseg.engine.certificates import Certificates
from napari_foundseg.engine.worker_source import Connection, OnDeath, WorkerHandle, WorkerSource


class ToyWorker(WorkerHandle):
    def __init__(self, on_death: OnDeath) -> None:
        self._on_death = on_death
        self._stopped = False
        folder = tempfile.mkdtemp(prefix="toy-")
        command = f"exec {sys.executable} -m napari_foundseg.engine {os.getpid()} {folder}"
        self.process = subprocess.Popen(
            ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        threading.Thread(target=self._watch, daemon=True).start()

    def connect(self) -> Connection:
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        return Connection(answer["address"], Certificates(**answer["certificates"]), direct=True)

    def stop(self) -> None:
        self._stopped = True
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _watch(self) -> None:
        self.process.wait()
        if not self._stopped:
            self._on_death(EngineError("The toy broke."))


class ToySource(WorkerSource):
    form = "toy://anything"
    owns_workers = True
    shares_files = False
    reports_death = True
    #: All workers that were started.
    workers: list[ToyWorker] = []  # noqa: RUF012 - of the class, as each engine makes its own source

    @classmethod
    def accepts(cls, address: str) -> bool:
        return address.startswith("toy://")

    def describe(self) -> str:
        return f"on toys at {self.address}"

    def start_worker(self, on_death: OnDeath, threads: int | None) -> ToyWorker:  # noqa: ARG002 - of another source
        self.workers.append(ToyWorker(on_death))
        return self.workers[-1]

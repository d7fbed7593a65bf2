"""A place where tasks run that exists in the tests alone: processes that a shell starts, at ``toy://anything``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from napari_foundseg.engine.certificates import Certificates
from napari_foundseg.engine.worker_source import Connection, WorkerHandle, WorkerSource


class ToyWorker(WorkerHandle):
    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="toy-")
        command = f"exec {sys.executable} -m napari_foundseg.engine {os.getpid()} {folder}"
        self.process = subprocess.Popen(
            ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def connect(self) -> Connection:
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        return Connection(answer["address"], Certificates(**answer["certificates"]), direct=True)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class ToySource(WorkerSource):
    form = "toy://anything"
    owns_workers = True
    shares_files = False
    reports_death = False
    #: All workers that were started.
    workers: list[ToyWorker] = []  # noqa: RUF012 - of the class, as each engine makes its own source

    @classmethod
    def accepts(cls, address: str) -> bool:
        return address.startswith("toy://")

    def describe(self) -> str:
        return f"on toys at {self.address}"

    def start_worker(self, on_death: Any, threads: int | None) -> ToyWorker:  # noqa: ARG002 - of another source
        self.workers.append(ToyWorker())
        return self.workers[-1]

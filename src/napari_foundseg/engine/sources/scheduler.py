"""Workers of a dask scheduler at an address."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from napari_foundseg.core.errors import EngineError, EngineStartError, NoFreeWorkerError
from napari_foundseg.engine.certificates import Certificates
from napari_foundseg.engine.dask_client import open_client
from napari_foundseg.engine.worker_source import Connection, OnDeath, WorkerHandle, WorkerSource

__all__ = ["SOURCE", "SchedulerSource"]

_TLS_VARIABLES = ("FOUNDSEG_TLS_CA", "FOUNDSEG_TLS_CERT", "FOUNDSEG_TLS_KEY")


class SchedulerSource(WorkerSource):
    """Workers of a running dask scheduler, which other users may share; each handle gets a worker of its own."""

    form = "tls://host:port of a dask scheduler"
    owns_workers = False
    shares_files = False
    reports_death = False

    def __init__(self, address: str, certificates: Certificates | None = None) -> None:
        super().__init__(address, certificates)
        if not address.startswith("tls://"):
            raise EngineError(
                f"The engine's address must be tls://host:port, got {address!r}: without encryption and certificates "
                "anybody in the network could run programs on both computers."
            )
        self.connection = Connection(address, certificates or _certificates_from_environment(), direct=False)
        self._lock = threading.Lock()
        self._in_use: dict[_SchedulerWorker, str] = {}

    @classmethod
    def accepts(cls, address: str) -> bool:
        """Tell whether it is a scheduler's address, also without encryption, which is then refused with a reason."""
        return address.startswith(("tls:", "tcp:"))

    def describe(self) -> str:
        """Return the location, "on the scheduler at …"."""
        return f"on the scheduler at {self.address}"

    def start_worker(self, on_death: OnDeath, threads: int | None) -> WorkerHandle:  # noqa: ARG002 - they run already
        """Return a handle; its worker is chosen when the scheduler has listed its workers."""
        return _SchedulerWorker(self)

    def count_workers(self, wanted: int | None) -> int:
        """Return the number of workers to use, at most those of the scheduler; by default all of them."""
        client = open_client(self.connection)
        try:
            number = len(client.scheduler_info(n_workers=-1)["workers"])
        finally:
            with suppress(Exception):
                client.close()
        if not number:
            raise EngineStartError(f"The scheduler at {self.address} has no worker. Start one and run again.")
        return min(wanted or number, number)

    def reserve_worker(self, handle: _SchedulerWorker, workers: Mapping[str, Any]) -> str:
        """Give a handle the least busy worker that no other handle of this source uses."""
        with self._lock:
            self._in_use.pop(handle, None)
            free = {name: facts for name, facts in workers.items() if name not in self._in_use.values()}
            if not free:
                raise NoFreeWorkerError(f"The scheduler at {self.address} has no free worker. Start one and run again.")
            self._in_use[handle] = WorkerHandle.choose_worker(handle, free)
            return self._in_use[handle]

    def release_worker(self, handle: _SchedulerWorker) -> None:
        """Make the worker of a handle available to other handles."""
        with self._lock:
            self._in_use.pop(handle, None)


class _SchedulerWorker(WorkerHandle):
    def __init__(self, source: SchedulerSource) -> None:
        self._source = source

    def connect(self) -> Connection:
        return self._source.connection

    def choose_worker(self, workers: Mapping[str, Any]) -> str:
        return self._source.reserve_worker(self, workers)

    def stop(self) -> None:
        self._source.release_worker(self)


def _certificates_from_environment() -> Certificates:
    paths = [os.environ.get(name, "") for name in _TLS_VARIABLES]
    if not all(paths):
        missing = [name for name, path in zip(_TLS_VARIABLES, paths, strict=True) if not path]
        raise EngineError(
            f"A scheduler is joined with certificates: set {', '.join(missing)} to the paths of their PEM files."
        )
    return Certificates(*paths)


SOURCE = SchedulerSource

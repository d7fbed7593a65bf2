"""`WorkerSource`: where workers come from, and the table of all sources, chosen by the form of an address."""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

from napari_foundseg.core.errors import EngineError
from napari_foundseg.engine.certificates import Certificates

__all__ = [
    "Connection",
    "OnDeath",
    "WorkerHandle",
    "WorkerSource",
    "find_worker_source",
    "register_worker_source",
    "worker_sources",
]

#: Called with the error when a worker is lost.
OnDeath = Callable[[EngineError], None]

_registered: list[type[WorkerSource]] = []


@dataclass(frozen=True)
class Connection:
    """The address and certificates with which to reach the scheduler of a worker.

    Parameters
    ----------
    address : str
        ``tls://host:port`` of a dask scheduler.
    certificates : Certificates
        The certificates for the scheduler.
    direct : bool
        Whether this computer can connect to the worker directly, not only to its scheduler.
    """

    address: str
    certificates: Certificates
    direct: bool


class WorkerHandle(ABC):
    """One worker of a source, until `stop` is called."""

    #: Its process number, if this program started it on this computer.
    pid: int | None = None

    @abstractmethod
    def connect(self) -> Connection:
        """Wait until the worker's scheduler can be reached; raise an EngineError if it cannot."""

    def choose_worker(self, workers: Mapping[str, Any]) -> str:
        """Return the address of the worker to use; `workers` maps addresses to dask's descriptions."""
        return min(workers, key=lambda name: workers[name]["metrics"].get("cpu", 0))

    def log_tail(self) -> str:
        """Return the end of the worker's log; empty if it cannot be read from here."""
        return ""

    def is_stopped(self) -> bool:
        """Tell whether the worker's process was stopped from outside and may continue; False if that is unknown."""
        return False

    def stop(self) -> None:  # noqa: B027 - a source need not end anything
        """End the worker if it is ours, otherwise release it; can be called from any thread, and more than once."""


class WorkerSource(ABC):
    """Where the workers of an engine or of a batch come from.

    A source is added by a module in `engine.sources` with its class in `SOURCE`, or by `register_worker_source`.

    Parameters
    ----------
    address : str
        The address that the user entered; empty for this computer.
    certificates : Certificates, optional
        The certificates for the scheduler; by default those that the source finds by itself.
    """

    #: The form of its addresses, shown to a user who entered an invalid one.
    form: ClassVar[str]
    #: Whether only this program uses a worker, so that one that does not stop may be ended and replaced.
    owns_workers: ClassVar[bool]
    #: Whether workers are certain to see the files of this computer under the same paths.
    shares_files: ClassVar[bool]
    #: Whether a handle calls `on_death` by itself; otherwise the scheduler is asked whether the worker still exists.
    reports_death: ClassVar[bool]

    def __init__(self, address: str, certificates: Certificates | None = None) -> None:
        self.address = address
        self._certificates = certificates

    @classmethod
    @abstractmethod
    def accepts(cls, address: str) -> bool:
        """Tell whether an address has this source's form."""

    @abstractmethod
    def describe(self) -> str:
        """Return where the workers run, to complete the sentence "This batch runs …"."""

    @abstractmethod
    def start_worker(self, on_death: OnDeath, threads: int | None) -> WorkerHandle:
        """Start a worker, or reserve a running one; `threads` is the number of its threads, if it is ours."""

    def count_workers(self, wanted: int | None) -> int:
        """Return the number of workers for a batch, at most `wanted`; None: as many as suit the source."""
        return wanted or 1

    def threads_per_worker(self, workers: int) -> int:  # noqa: ARG002 - other sources look at it
        """Return the number of threads of each of several workers; 0 if the source does not decide it."""
        return 0

    def describe_loss(self, worker: str) -> str:
        """Return a sentence saying that a worker is lost, the likely cause, and advice."""
        return (
            f"The worker {worker} is gone, most likely because memory ran out or its computer stopped. "
            "Run again, or choose a smaller region."
        )


@cache
def _found_sources() -> tuple[type[WorkerSource], ...]:
    from napari_foundseg.engine import sources

    modules = (import_module(f"{sources.__name__}.{name}") for _, name, _ in pkgutil.iter_modules(sources.__path__))
    return tuple(module.SOURCE for module in modules)


def worker_sources() -> tuple[type[WorkerSource], ...]:
    """Return all sources; those that were registered last come first."""
    return (*reversed(_registered), *_found_sources())


def register_worker_source(source: type[WorkerSource]) -> Callable[[], None]:
    """Add a source to the table.

    Parameters
    ----------
    source : type of WorkerSource
        The source; it is tried before all others.

    Returns
    -------
    callable
        Removes the source again.
    """
    _registered.append(source)
    return lambda: _registered.remove(source)


def find_worker_source(address: str, certificates: Certificates | None = None) -> WorkerSource:
    """Return the source of an address.

    Parameters
    ----------
    address : str
        The address; empty for this computer.
    certificates : Certificates, optional
        The certificates for the scheduler.

    Returns
    -------
    WorkerSource
        The source; it is not connected yet.

    Raises
    ------
    EngineError
        If no source has addresses of this form, or if something is missing, such as certificates.
    """
    for source in worker_sources():
        if source.accepts(address):
            return source(address, certificates)
    forms = ", ".join(source.form for source in worker_sources())
    raise EngineError(f"The engine's address {address!r} has no known form. Enter one of these: {forms}.")

"""`Engine`: runs tasks outside the window's process."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_foundseg.engine import worker
from napari_foundseg.engine.background_work import BackgroundWork
from napari_foundseg.engine.certificates import Certificates
from napari_foundseg.engine.dispatch import Dispatcher
from napari_foundseg.engine.job import Job
from napari_foundseg.engine.link import Link
from napari_foundseg.engine.worker_source import OnDeath, find_worker_source

if TYPE_CHECKING:
    from napari_foundseg.engine.stages import Stage
    from napari_foundseg.tasks.run_request import RunRequest
    from napari_foundseg.tasks.settings import Progress

__all__ = ["PICKLE_NOTICE", "BackgroundWork", "Certificates", "Engine", "Job"]

#: Shown where the user enters an address.
PICKLE_NOTICE = (
    "Only name a scheduler that you trust as you trust your own account: images and results travel as Python pickles, "
    "so each side can run code on the other."
)


class Engine:
    """Runs tasks outside this process. No method blocks; callbacks are called on threads of the engine.

    Parameters
    ----------
    address : str, optional
        ``tls://host:port`` of a dask scheduler, or an empty text for our own process on this computer. By default
        the environment variable FOUNDSEG_ENGINE; if it is not set, our own process.
    security : Certificates, optional
        Paths of the certificates for the scheduler; by default the environment variables FOUNDSEG_TLS_CA,
        FOUNDSEG_TLS_CERT and FOUNDSEG_TLS_KEY.
    device : str, optional
        Device for models, as for `models.device.choose_device`; by default the worker's own choice.
    on_status : callable, optional
        Called with a text for the user when the state of the engine changes.
    """

    def __init__(
        self,
        address: str | None = None,
        security: Certificates | None = None,
        device: str | None = None,
        on_status: Callable[[str], None] | None = None,
    ) -> None:
        self._address = os.environ.get("FOUNDSEG_ENGINE", "") if address is None else address
        self._dispatcher = Dispatcher(partial(_make_link, self._address, security), device, on_status)
        # Also called at the interpreter's exit, and when the engine is garbage-collected.
        self._finalizer = weakref.finalize(self, _close, self._dispatcher, os.getpid())

    def start(self) -> None:
        """Start or join the worker in a background thread, so that it is ready for the first run."""
        self._dispatcher.start()

    def submit(
        self,
        request: RunRequest,
        *,
        progress: Progress | None = None,
        done: Callable[[Job], None] | None = None,
        replace: str | None = None,
    ) -> Job:
        """Queue a run and return its job; of the waiting jobs with the same `replace`, only the latest runs.

        Do not change the image's pixels until the job has ended. `done` is called once with the job.
        """
        job = Job(request, progress=progress, replace=replace, on_end=self._make_end_callback(done))
        self._dispatcher.start()
        self._dispatcher.add_job(job)
        return job

    def work(
        self,
        function: Stage,
        argument: Any,
        *,
        computes: bool = False,
        progress: Progress | None = None,
        done: Callable[[BackgroundWork], None] | None = None,
    ) -> BackgroundWork:
        """Ask the worker to call a function with an argument and a `StageContext`, in parallel with runs of tasks.

        A function that `computes` waits its turn among the runs. `done` is called once with the work.
        """

        def ended(work: BackgroundWork) -> None:
            if done is not None:
                self._dispatcher.queue_callback(lambda: done(work))

        work = BackgroundWork(function, argument, computes=computes, progress=progress, on_end=ended)
        self._dispatcher.start()
        self._dispatcher.add_work(work)
        return work

    def close(self) -> None:
        """Cancel every job and stop our own process; can be called from any thread, and more than once."""
        self._finalizer()

    def log_tail(self) -> str:
        """Return the end of the log of our own process; empty without one."""
        link = self._dispatcher.link
        return link.handle.log_tail() if link is not None else ""

    def diagnostics(self) -> dict[str, Any]:
        """Return facts for a bug report (address, process, versions, device, memory in bytes); never waits."""
        link = self._dispatcher.link
        facts = link.facts if link is not None else {}
        return {
            "address": link.address if link is not None else self._address or None,
            "alive": link is not None and link.alive and bool(facts),
            "pid": facts.get("pid"),
            "versions_here": worker.versions(),
            "versions_there": facts.get("versions"),
            "device": self._dispatcher.device,
            "resident_memory": _resident_memory(link),
        }

    def _make_end_callback(self, done: Callable[[Job], None] | None) -> Callable[[Job], None]:
        # Keeps the engine alive until its jobs have ended.
        holder = [self]

        def ended(job: Job) -> None:
            job.request = None
            if done is not None:
                holder[0]._dispatcher.queue_callback(lambda: done(job))
            holder.clear()

        return ended


def _make_link(address: str, security: Certificates | None, on_event: Callable[..., None], on_death: OnDeath) -> Link:
    return Link(find_worker_source(address, security), on_event, on_death)


def _close(dispatcher: Dispatcher, owner: int) -> None:
    # A process forked from the window must not stop the window's engine.
    if os.getpid() == owner:
        dispatcher.close()


def _resident_memory(link: Link | None) -> int | None:
    import psutil

    if link is None or link.handle.pid is None:
        return None
    try:
        return int(psutil.Process(link.handle.pid).memory_info().rss)
    except psutil.Error:
        return None

"""The engine's thread, which runs one job after another.

Everything that blocks happens here, never in the caller's thread. Callbacks are called on another thread, so that a
slow callback delays no run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from napari_foundseg.core.errors import Cancelled, EngineError, FoundsegError
from napari_foundseg.engine.background_work import BackgroundWork, WorkQueue
from napari_foundseg.engine.image_planes import Index
from napari_foundseg.engine.job import Job
from napari_foundseg.engine.link import Link
from napari_foundseg.engine.run_transfer import RunTransfer
from napari_foundseg.engine.shown_parts import unpacked
from napari_foundseg.engine.worker import RunOutcome

__all__ = ["Dispatcher"]

_log = logging.getLogger(__name__)
#: Limits, in seconds, of the time that a new job waits for a cancelled one before our own worker is replaced. Between
#: them the wait equals the time from the worker's start to its first answer, since a new worker would take as long.
_LEAST_PATIENCE = 15.0
_MOST_PATIENCE = 90.0
_JOIN_SECONDS = 0.2
#: Seconds by which the end of a process may be reported after its connection broke.
_REASON_SECONDS = 0.5


class Dispatcher:
    """A queue of jobs, and the two threads that serve it.

    Parameters
    ----------
    make_link : callable
        Called with the callbacks for events and for the worker's death; returns a link that is not open yet.
    device : str or None
        Device for models.
    on_status : callable
        Called with a text for the user when the state of the engine changes.
    """

    def __init__(
        self, make_link: Callable[..., Link], device: str | None, on_status: Callable[[str], None] | None
    ) -> None:
        self._make_link = make_link
        self._device = device
        self._on_status = on_status
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._reports: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running: Job | None = None
        self._works = WorkQueue(device)
        self._closed = False
        self._start_requested = False
        self.link: Link | None = None
        #: The link, once it is open.
        self._open_link: Link | None = None
        self.device: str | None = None
        #: Seconds that the worker took to start and to give its first answer, including the loading of a model.
        self._start_seconds = 0.0
        self._answered = False

    def start(self) -> None:
        """Start the threads, which then start the worker."""
        with self._changed:
            if self._closed:
                raise EngineError("The engine was closed; make a new one.")
            self._start_requested = True
            self._changed.notify_all()
            if not self._threads:
                self._threads = [
                    threading.Thread(target=target, name=name, daemon=True)
                    for target, name in (
                        (self._run_jobs, "foundseg-engine"),
                        (self._call_callbacks, "foundseg-reports"),
                    )
                ]
                for thread in self._threads:
                    thread.start()

    def add_job(self, job: Job) -> None:
        """Queue a job; it replaces waiting jobs with the same `replace` key."""
        with self._changed:
            if self._closed:
                raise EngineError("The engine was closed; make a new one.")
            replaced = [old for old in self._waiting if job.replace is not None and old.replace == job.replace]
            self._waiting = deque(old for old in self._waiting if old not in replaced)
            self._waiting.append(job)
            self._changed.notify_all()
            if self._running is not None:
                self._running.messages.put(("asked", None))
        for old in replaced:
            old.end("cancelled", error=Cancelled("A newer request took its place."))

    def add_work(self, work: BackgroundWork) -> None:
        """Send work to the worker as soon as there is one."""
        with self._changed:
            if self._closed:
                raise EngineError("The engine was closed; make a new one.")
            self._works.add(work)
            self._start_requested = True
            self._changed.notify_all()
            link = self._open_link
        if link is not None and link.alive:
            self._works.send(link)

    def queue_callback(self, call: Callable[[], None]) -> None:
        """Call a function on the thread for callbacks."""
        self._reports.put(call)

    def close(self) -> None:
        """Cancel every job and stop; can be called from any thread, and more than once."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            jobs = [*self._waiting, *([self._running] if self._running else [])]
            self._waiting.clear()
            self._changed.notify_all()
        for job in jobs:
            job.cancel()
        self._works.fail(Cancelled("The engine was closed."))
        if self.link is not None:
            self.link.close()
        self._reports.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_SECONDS)

    def _run_jobs(self) -> None:
        while self._wait_for_job():
            job = self._running
            try:
                link = self._link_for_all()
                if job is not None and job.begin():
                    self._run_job(job, link)
            except Exception as error:  # noqa: BLE001 - the thread must outlive any job
                self._fail_job(job, error)
            with self._changed:
                self._running = None
            del job
        if self.link is not None:
            self.link.close()

    def _link_for_all(self) -> Link:
        """Return an open link; if that fails, all waiting jobs fail too, since each would wait as long."""
        try:
            link = self._ensure_link()
        except EngineError as error:
            with self._changed:
                waiting = list(self._waiting)
                self._waiting.clear()
            self._works.fail(error)
            for job in waiting:
                job.end("failed", error=error)
            raise
        self._works.send(link)
        return link

    def _wait_for_job(self) -> bool:
        """Wait for a job or a request to start; return False once the dispatcher is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting or self._start_requested)
            self._start_requested = False
            self._running = self._waiting.popleft() if self._waiting and not self._closed else None
            return not self._closed

    def _fail_job(self, job: Job | None, error: Exception) -> None:
        shown = error if isinstance(error, FoundsegError) else EngineError(f"{type(error).__name__}: {error}")
        if job is not None:
            job.end("failed", error=shown)
        if not self._closed:
            self._report_status(str(shown).splitlines()[0])

    def _ensure_link(self) -> Link:
        """Return an open link; a new one if the last was lost."""
        if self.link is not None and self.link.alive:
            return self.link
        if self.link is not None:
            self.link.close()
            self.link = None
        self._report_status("starting the engine")
        began = time.monotonic()
        with self._changed:
            if self._closed:
                raise Cancelled("The engine was closed.")
            self.link = link = self._make_link(self._on_event, self._on_death)
        try:
            link.open()
        except BaseException:
            link.close()
            raise
        with self._changed:
            self._open_link = link
        self._start_seconds = time.monotonic() - began
        self._answered = False
        self._report_status("ready")
        return link

    def _run_job(self, job: Job, link: Link) -> None:
        request = job.request
        if request is None:
            return
        transfer = RunTransfer(job, request, link, self._device)
        answer = transfer.send_request()
        answer.add_done_callback(lambda future: job.messages.put(("answer", future)))
        began = time.monotonic()
        deadline: float | None = None
        while True:
            try:
                kind, value = job.messages.get(
                    timeout=None if deadline is None else max(0.0, deadline - time.monotonic())
                )
            except Empty:
                if self._next_job() is not None:
                    self._replace_worker(link)
                    return
                # No job waits for the worker any more.
                deadline = None
                continue
            if kind == "answer" and value.exception() is None:
                self._end_job(job, value.result())
                self._start_seconds += 0.0 if self._answered else time.monotonic() - began
                self._answered = True
                return
            if kind in {"answer", "death"}:
                job.end("failed", error=value if kind == "death" else self._explain_break(job, value.exception()))
                link.close()
                return
            if self._closed:
                return
            if kind == "cancel":
                # The worker is kept, and its answer is discarded: a new worker would have to load the model again.
                link.cancel(job.id)
            if kind in {"cancel", "asked"}:
                following = self._next_job() if job.ended else None
                if following is not None:
                    following.report(0.0, "waiting for the cancelled run to end")
                    deadline = deadline or time.monotonic() + self._patience()
            elif kind == "need" and not job.ended:
                self._send_slice(job, transfer, *value)

    def _next_job(self) -> Job | None:
        """Return the next job that waits for the worker, or None."""
        with self._changed:
            return next((job for job in self._waiting if not job.ended), None)

    def _patience(self) -> float:
        return min(_MOST_PATIENCE, max(_LEAST_PATIENCE, self._start_seconds))

    def _send_slice(self, job: Job, transfer: RunTransfer, index: Index, pixels: bool) -> None:
        try:
            transfer.send_slice(index, pixels)
        except FoundsegError as error:
            # The worker still waits for the slice.
            job.end("failed", error=error)
            job.messages.put(("cancel", None))

    def _explain_break(self, job: Job, broken: BaseException) -> FoundsegError:
        """Return why a connection broke; the end of the process is reported a moment later."""
        end = time.monotonic() + _REASON_SECONDS
        while (left := end - time.monotonic()) > 0:
            try:
                kind, value = job.messages.get(timeout=left)
            except Empty:
                break
            if kind == "death" and isinstance(value, EngineError):
                return value
        return EngineError(f"The connection to the engine broke ({type(broken).__name__}: {broken}). Run again.")

    def _end_job(self, job: Job, outcome: RunOutcome) -> None:
        if outcome.shown:
            self._report(job, {"share": 1.0, "words": "", "shown": outcome.shown})
        self.device = outcome.device or self.device
        if outcome.segmentation is not None:
            job.end("done", result=outcome.segmentation)
        elif isinstance(outcome.error, Cancelled):
            job.end("cancelled", error=outcome.error)
        else:
            job.end("failed", error=outcome.error)

    def _replace_worker(self, link: Link) -> None:
        """Replace our own worker if a cancelled run blocks it; a remote worker may serve other users too."""
        if link.source.owns_workers:
            words = "the cancelled run did not stop, so the engine starts again and loads the model again"
            self._report_status(words)
            if (following := self._next_job()) is not None:
                following.report(0.0, words)
            link.close()
            self._link_for_all()

    def _on_event(self, event: dict[str, Any]) -> None:
        job = self._running
        if self._works.report(event) or job is None or event.get("job") != job.id:
            return
        if "need" in event:
            job.messages.put(("need", (tuple(event["need"]), event["pixels"])))
        else:
            self._report(job, event)

    @staticmethod
    def _report(job: Job, event: dict[str, Any]) -> None:
        try:
            job.report(event["share"], event["words"], unpacked(event.get("shown")))
        except Exception:  # noqa: BLE001 - another's code
            _log.exception("A progress callback failed")

    def _on_death(self, error: EngineError) -> None:
        self._works.fail(error)
        job = self._running
        if job is not None:
            job.messages.put(("death", error))
        else:
            self._report_status("the engine stopped; the next run starts it again")

    def _report_status(self, words: str) -> None:
        on_status = self._on_status
        if on_status is not None:
            self.queue_callback(lambda: on_status(words))

    def _call_callbacks(self) -> None:
        while (call := self._reports.get()) is not None:
            try:
                call()
            except Exception:  # noqa: BLE001 - another's code
                _log.exception("A callback of the engine failed")

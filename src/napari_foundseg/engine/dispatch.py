"""The engine's thread: one job after the other, from the image's pixels to the answer.

Everything that blocks happens here, never in the caller's thread; another thread hands out what ended, so that a slow
callback delays no run.
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
from napari_foundseg.engine.image_planes import Index
from napari_foundseg.engine.job import Job
from napari_foundseg.engine.link import Link
from napari_foundseg.engine.run_transfer import Exchange
from napari_foundseg.engine.worker import RunOutcome

__all__ = ["Dispatcher"]

_log = logging.getLogger(__name__)
#: How long a worker of our own may take to stop before it is replaced.
_STOP_SECONDS = 2.0
_JOIN_SECONDS = 0.2
#: How much later than the broken connection the news of the process's end may come.
_REASON_SECONDS = 0.5


class Dispatcher:
    """A queue of jobs and the two threads that serve it.

    Parameters
    ----------
    make_link : callable
        Given the callbacks for events and for the worker's death, returns a link that is not open yet.
    device : str or None
        Where models run.
    on_status : callable
        Told in words what the engine does.
    """

    def __init__(
        self, make_link: Callable[..., Link], device: str | None, on_status: Callable[[str], None] | None
    ) -> None:
        self._make_link, self._device, self._on_status = make_link, device, on_status
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._reports: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running: Job | None = None
        self._closed = False
        self._wanted = False
        self.link: Link | None = None
        self.device: str | None = None

    def start(self) -> None:
        """Start the threads, and through them the worker.

        Raises
        ------
        EngineError
            If the engine was closed.
        """
        with self._changed:
            if self._closed:
                raise EngineError("The engine was closed; make a new one.")
            self._wanted = True
            self._changed.notify_all()
            if not self._threads:
                self._threads = [
                    threading.Thread(target=target, name=name, daemon=True)
                    for target, name in ((self._serve, "foundseg-engine"), (self._hand_out, "foundseg-reports"))
                ]
                for thread in self._threads:
                    thread.start()

    def put(self, job: Job) -> None:
        """Queue a job; it takes the place of those waiting with its key.

        Parameters
        ----------
        job : Job
            The job.

        Raises
        ------
        EngineError
            If the engine was closed.
        """
        with self._changed:
            if self._closed:
                raise EngineError("The engine was closed; make a new one.")
            replaced = [old for old in self._waiting if job.replace is not None and old.replace == job.replace]
            self._waiting = deque(old for old in self._waiting if old not in replaced)
            self._waiting.append(job)
            self._changed.notify_all()
        for old in replaced:
            old.end("cancelled", error=Cancelled("A newer request took its place."))

    def report(self, call: Callable[[], None]) -> None:
        """Have a callback called on the reporting thread.

        Parameters
        ----------
        call : callable
            Without arguments.
        """
        self._reports.put(call)

    def close(self) -> None:
        """Cancel every job and stop; from any thread, any number of times."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            jobs = [*self._waiting, *([self._running] if self._running else [])]
            self._waiting.clear()
            self._changed.notify_all()
        for job in jobs:
            job.cancel()
        if self.link is not None:
            self.link.close()
        self._reports.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_SECONDS)

    def _serve(self) -> None:
        while self._next():
            job = self._running
            try:
                link = self._linked()
                if job is not None and job.begin():
                    self._run(job, link)
            except Exception as error:  # noqa: BLE001 - the thread must outlive any job
                self._failed(job, error)
            with self._changed:
                self._running = None
            del job
        if self.link is not None:
            self.link.close()

    def _next(self) -> bool:
        """Wait for a job, or for the wish to be ready; False once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting or self._wanted)
            self._wanted = False
            self._running = self._waiting.popleft() if self._waiting and not self._closed else None
            return not self._closed

    def _failed(self, job: Job | None, error: Exception) -> None:
        shown = error if isinstance(error, FoundsegError) else EngineError(f"{type(error).__name__}: {error}")
        if job is not None:
            job.end("failed", error=shown)
        if not self._closed:
            self._say(str(shown).splitlines()[0])

    def _linked(self) -> Link:
        """Return an open link, a new one where the last is lost."""
        if self.link is not None and self.link.alive:
            return self.link
        if self.link is not None:
            self.link.close()
            self.link = None
        self._say("starting the engine")
        with self._changed:
            if self._closed:
                raise Cancelled("The engine was closed.")
            self.link = link = self._make_link(self._on_event, self._on_death)
        try:
            link.open()
        except BaseException:
            link.close()
            raise
        self._say("ready")
        return link

    def _run(self, job: Job, link: Link) -> None:
        request = job.request
        if request is None:
            return
        exchange = Exchange(job, request, link, self._device)
        answer = exchange.start()
        answer.add_done_callback(lambda future: job.mail.put(("answer", future)))
        deadline: float | None = None
        while True:
            try:
                kind, value = job.mail.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except Empty:
                self._give_up(link)
                return
            if kind == "answer" and value.exception() is None:
                self._answered(job, value.result())
                return
            if kind in {"answer", "death"}:
                job.end("failed", error=value if kind == "death" else self._reason(job, value.exception()))
                link.close()
                return
            if kind == "cancel" and not self._closed:
                link.cancel(job.id)
                deadline = time.monotonic() + _STOP_SECONDS
            elif kind == "need" and not job.ended:
                self._serve_slice(job, exchange, *value)
            elif self._closed:
                return

    def _serve_slice(self, job: Job, exchange: Exchange, index: Index, pixels: bool) -> None:
        try:
            exchange.serve(index, pixels)
        except FoundsegError as error:
            # The worker still waits for the slice.
            job.end("failed", error=error)
            job.mail.put(("cancel", None))

    def _reason(self, job: Job, broken: BaseException) -> FoundsegError:
        """Return why a connection broke: the process's end is told a moment later."""
        end = time.monotonic() + _REASON_SECONDS
        while (left := end - time.monotonic()) > 0:
            try:
                kind, value = job.mail.get(timeout=left)
            except Empty:
                break
            if kind == "death" and isinstance(value, EngineError):
                return value
        return EngineError(f"The connection to the engine broke ({type(broken).__name__}: {broken}). Run again.")

    def _answered(self, job: Job, outcome: RunOutcome) -> None:
        self.device = outcome.device or self.device
        if outcome.segmentation is not None:
            job.end("done", result=outcome.segmentation)
        elif isinstance(outcome.error, Cancelled):
            job.end("cancelled", error=outcome.error)
        else:
            job.end("failed", error=outcome.error)

    def _give_up(self, link: Link) -> None:
        """Replace a worker that does not stop, if it is ours; a remote one may serve other users too."""
        if link.source.owns_workers:
            self._say("replacing the engine, which did not stop")
            link.close()
            self._linked()

    def _on_event(self, event: dict[str, Any]) -> None:
        job = self._running
        if job is None or event.get("job") != job.id:
            return
        if "need" in event:
            job.mail.put(("need", (tuple(event["need"]), event["pixels"])))
        else:
            try:
                job.report(event["share"], event["words"], event.get("shown"))
            except Exception:  # noqa: BLE001 - another's code
                _log.exception("A progress callback failed")

    def _on_death(self, error: EngineError) -> None:
        job = self._running
        if job is not None:
            job.mail.put(("death", error))
        else:
            self._say("the engine stopped; the next run starts it again")

    def _say(self, words: str) -> None:
        on_status = self._on_status
        if on_status is not None:
            self.report(lambda: on_status(words))

    def _hand_out(self) -> None:
        while (call := self._reports.get()) is not None:
            try:
                call()
            except Exception:  # noqa: BLE001 - another's code
                _log.exception("A callback of the engine failed")

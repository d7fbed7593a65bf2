"""`Pool`: workers of our own for many works that do not depend on one another.

Each worker is a process as the window's engine is, with a thread here that owns it: only this thread opens its link and
changes what it has under way, so there is nothing to lock but the pool's own count.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from napari_foundseg.core.errors import Cancelled, EngineError, EngineStartError, FoundsegError, WorkerLostError
from napari_foundseg.engine.link import Link

if TYPE_CHECKING:
    from napari_foundseg.engine.stages import Answer, Stage
    from napari_foundseg.tasks.settings import Progress

__all__ = ["Pool"]

_log = logging.getLogger(__name__)
#: How often a process is started before the pool gives up: another program may have taken the memory for a moment.
_STARTS = 3
#: How much later than the broken connection the news of the process's end may come.
_REASON_SECONDS = 0.5
_JOIN_SECONDS = 1.0
_POLL_SECONDS = 0.01


class Pool:
    """Some workers, started when they are first needed and again when they are lost.

    Parameters
    ----------
    workers : int
        How many, at least 1.
    threads : int, optional
        How many threads each computes with; by default the processors are divided among them.
    device : str, optional
        Where models run, as for `models.device.choose_device`.
    """

    def __init__(self, workers: int, threads: int | None = None, device: str | None = None) -> None:
        self.workers = workers
        self.threads = threads or max(1, _processors() // workers)
        self._places = [_Place(self.threads, device) for _ in range(workers)]
        self._under_way: dict[_Work, _Place] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._timers: list[threading.Timer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, stages: Sequence[Stage], order: Any, told: Progress | None = None) -> Future[Any]:
        """Hand a work to the worker that has the fewest.

        Parameters
        ----------
        stages : sequence of three callables
            What reads, what computes, what writes; each is given what the one before returned, and a `Seat`.
        order : object
            What the first is given; it travels as a pickle.
        told : callable, optional
            Told the share done and words, on a thread of the pool.

        Returns
        -------
        Future
            Of what the last stage returned, or of a `FoundsegError`: `WorkerLostError` where the worker ended,
            `EngineStartError` where none could be started, `Cancelled`.

        Raises
        ------
        EngineError
            If the pool was closed.
        """
        work = _Work(stages, order, told)
        with self._lock:
            if self._closed:
                raise EngineError("The pool of workers was closed; make a new one.")
            loads = list(self._under_way.values())
            place = min(self._places, key=loads.count)
            self._under_way[work] = place
        work.future.add_done_callback(lambda _: self._ended(work))
        place.take(work)
        return work.future

    def cancel(self, grace: float) -> None:
        """Ask all works to stop.

        Parameters
        ----------
        grace : float
            Seconds; after these the workers of works that have not stopped are ended, and the next work starts them
            again.
        """
        with self._lock:
            works = dict(self._under_way)
        for work, place in works.items():
            place.cancel(work)
        if works:
            self._timers.append(_later(grace, self._abandon, works))

    def close(self) -> None:
        """Cancel all works and end the workers; from any thread, any number of times."""
        with self._lock:
            self._closed = True
        for timer in self._timers:
            timer.cancel()
        for place in self._places:
            place.close()
        for place in self._places:
            place.join()

    def _ended(self, work: _Work) -> None:
        with self._lock:
            self._under_way.pop(work, None)

    def _abandon(self, works: dict[_Work, _Place]) -> None:
        for place in {place for work, place in works.items() if not work.future.done()}:
            place.leave()


class _Work:
    """An order on its way through the stages."""

    def __init__(self, stages: Sequence[Stage], order: Any, told: Progress | None) -> None:
        self.id = uuid4().hex
        self.stages, self.order, self._told = tuple(stages), order, told
        self.future: Future[Any] = Future()
        self.cancelled = False

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def tell(self, share: float, words: str) -> None:
        try:
            if self._told is not None:
                self._told(share, words)
        except Exception:  # noqa: BLE001 - another's code
            _log.exception("A progress callback failed")


class _Place:
    """One worker through all its lives; what changes its state comes as mail to its thread."""

    def __init__(self, threads: int, device: str | None) -> None:
        self._threads, self._device = threads, device
        self._mail: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._works: dict[str, _Work] = {}
        self._link: Link | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="foundseg-place", daemon=True)
        self._thread.start()

    def take(self, work: _Work) -> None:
        self._mail.put(partial(self._begin, work))

    def cancel(self, work: _Work) -> None:
        work.cancelled = True
        self._mail.put(partial(self._cancel, work))

    def leave(self) -> None:
        """End the worker, whatever it does; from any thread."""
        if (link := self._link) is not None:
            self._mail.put(partial(self._lose, link, Cancelled("The work was cancelled.")))
            # Here too, since the thread may wait for just this worker to start.
            link.close()

    def close(self) -> None:
        self._closed = True
        self.leave()
        self._mail.put(lambda: None)

    def join(self) -> None:
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    def _serve(self) -> None:
        while not (self._closed and self._mail.empty()):
            self._mail.get()()
        if self._link is not None:
            self._lose(self._link, Cancelled("The pool of workers was closed."))

    def _begin(self, work: _Work) -> None:
        if self._link is not None and not self._link.alive:
            # Its works are to end first; the news of its end is on the way.
            time.sleep(_POLL_SECONDS)
            self.take(work)
            return
        try:
            link = self._link or self._new_link(work)
            request = {
                "job": work.id,
                "topic": link.topic,
                "stages": work.stages,
                "order": work.order,
                "device": self._device,
            }
            answer = link.ask("stages", request)
        except FoundsegError as error:
            work.fail(error)
            return
        self._works[work.id] = work
        answer.add_done_callback(lambda future: self._mail.put(partial(self._answered, link, work, future)))

    def _new_link(self, work: _Work) -> Link:
        for left in reversed(range(_STARTS)):
            if self._closed or work.cancelled:
                break
            try:
                return self._open_link()
            except EngineError as error:
                if not left:
                    raise EngineStartError(*error.args) from error
        raise Cancelled("The work was cancelled.")

    def _open_link(self) -> Link:
        def died(error: EngineError) -> None:
            self._mail.put(lambda: self._lose(link, error))

        self._link = link = Link(None, None, self._on_event, died, self._threads)
        try:
            link.open()
        except BaseException:
            self._link = None
            link.close()
            raise
        return link

    def _on_event(self, event: dict[str, Any]) -> None:
        if (work := self._works.get(event.get("job", ""))) is not None:
            work.tell(event["share"], event["words"])

    def _answered(self, link: Link, work: _Work, future: Future[Answer]) -> None:
        if link is not self._link:
            return
        if future.cancelled() or (broken := future.exception()) is not None:
            # Why is told a moment later, by the process's end.
            reason = "" if future.cancelled() else f" ({type(broken).__name__}: {broken})"
            error = EngineError(f"The connection to the engine broke{reason}. Run again.")
            _later(_REASON_SECONDS, self._mail.put, partial(self._lose, link, error))
            return
        self._works.pop(work.id, None)
        answer = future.result()
        if answer.error is not None:
            work.fail(answer.error)
        elif not work.future.done():
            work.future.set_result(answer.value)

    def _cancel(self, work: _Work) -> None:
        if work.id in self._works and self._link is not None and self._link.alive:
            self._link.cancel(work.id)

    def _lose(self, link: Link | None, error: FoundsegError) -> None:
        """End a worker's works with its own end, once."""
        if link is None or link is not self._link:
            return
        self._link = None
        link.close()
        works, self._works = self._works, {}
        for work in works.values():
            work.fail(error if isinstance(error, Cancelled) else _lost(error))


def _later(seconds: float, call: Callable[..., None], *args: Any) -> threading.Timer:
    timer = threading.Timer(seconds, call, args)
    timer.daemon = True
    timer.start()
    return timer


def _lost(error: FoundsegError) -> WorkerLostError:
    lost = WorkerLostError(*error.args)
    for note in getattr(error, "__notes__", ()):
        lost.add_note(note)
    return lost


def _processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

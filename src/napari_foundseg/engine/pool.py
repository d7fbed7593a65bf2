"""`Pool`: several workers for many independent pieces of work.

Each worker has a thread here that owns it. Only this thread opens the link and changes the list of the worker's work,
so that only the pool's own count needs a lock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from napari_foundseg.core.errors import (
    Cancelled,
    EngineError,
    EngineStartError,
    FoundsegError,
    NoFreeWorkerError,
    WorkerLostError,
)
from napari_foundseg.engine.link import Link
from napari_foundseg.engine.shown_parts import unpacked
from napari_foundseg.engine.stages import single_stage
from napari_foundseg.engine.worker_source import find_worker_source

if TYPE_CHECKING:
    from napari_foundseg.engine.stages import Answer, Stage
    from napari_foundseg.engine.worker_source import WorkerSource
    from napari_foundseg.tasks.settings import Progress

__all__ = ["Pool"]

_log = logging.getLogger(__name__)
#: Number of times a worker is started before the pool gives up: another program may have used the memory for a moment.
_STARTS = 3
#: Seconds that a slot waits for a free worker: a scheduler may be restarting a lost one.
_FREE_WORKER_SECONDS = 5.0
#: Seconds for which a slot without a worker gets no work.
_UNUSED_SECONDS = 60.0
#: Seconds by which the end of a process may be reported after its connection broke.
_REASON_SECONDS = 0.5
_JOIN_SECONDS = 1.0
_POLL_SECONDS = 0.01
_FREE_POLL_SECONDS = 0.5
_PREPARED_POLL_SECONDS = 0.2


class Pool:
    """Some workers, started when they are first needed, and restarted when they are lost.

    Parameters
    ----------
    workers : int or None
        Number of workers, at least 1; fewer if a scheduler has fewer. None: as many as suit the source, one of our
        own or all of a scheduler.
    threads : int, optional
        Number of threads of each worker, if the workers are ours; by default the processors are divided among
        them.
    device : str, optional
        Device for models, as for `models.device.choose_device`.
    source : WorkerSource, optional
        Where the workers come from; by default our own processes.

    Raises
    ------
    EngineError
        If the source cannot be reached, or if it has no worker.
    """

    def __init__(
        self,
        workers: int | None,
        threads: int | None = None,
        device: str | None = None,
        source: WorkerSource | None = None,
    ) -> None:
        self.source = source or find_worker_source("")
        count = self.source.count_workers(workers)
        self.threads = threads or self.source.threads_per_worker(count)
        self._lock = threading.Lock()
        #: The function that each worker calls before its next work, and the argument.
        self.preparation: tuple[Stage, Any] | None = None
        self._slots = [_WorkerSlot(self, device) for _ in range(count)]
        self._under_way: dict[_Work, _WorkerSlot] = {}
        self._closed = False
        self._timers: list[threading.Timer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def workers(self) -> int:
        """Number of workers that take work at present, at least 1."""
        return max(1, len(self._usable_slots()))

    def prepare(self, function: Stage, argument: Any) -> None:
        """Make each worker call a function once, before the next work that it gets."""
        self.preparation = (function, argument)

    def submit(self, stages: Sequence[Stage], order: Any, progress: Progress | None = None) -> Future[Any]:
        """Give work to the worker that has the least."""
        work = _Work(stages, order, progress)
        with self._lock:
            if self._closed:
                raise EngineError("The pool of workers was closed; make a new one.")
            loads = list(self._under_way.values())
            slot = min(self._usable_slots() or self._slots, key=loads.count)
            self._under_way[work] = slot
        work.future.add_done_callback(lambda _: self._remove(work))
        slot.begin_work(work)
        return work.future

    def cancel(self, grace: float) -> None:
        """Ask all work to stop; after `grace` seconds, drop workers that still run it, and end those that are ours."""
        with self._lock:
            works = dict(self._under_way)
        for work, slot in works.items():
            slot.cancel_work(work)
        if works:
            self._timers.append(_call_later(grace, self._leave_slots, works))

    def close(self) -> None:
        """Cancel all work and end the workers that are ours; can be called from any thread, and more than once."""
        with self._lock:
            self._closed = True
        for timer in self._timers:
            timer.cancel()
        for slot in self._slots:
            slot.close()
        for slot in self._slots:
            slot.join()

    def _usable_slots(self) -> list[_WorkerSlot]:
        now = time.monotonic()
        return [slot for slot in self._slots if slot.unused_until <= now]

    def _remove(self, work: _Work) -> None:
        with self._lock:
            self._under_way.pop(work, None)

    def _leave_slots(self, works: dict[_Work, _WorkerSlot]) -> None:
        for slot in {slot for work, slot in works.items() if not work.future.done()}:
            slot.leave_worker()


class _Work:
    """An order that passes through the stages."""

    def __init__(self, stages: Sequence[Stage], order: Any, progress: Progress | None = None) -> None:
        self.id = uuid4().hex
        self.stages = tuple(stages)
        self.order = order
        self._progress = progress
        self.future: Future[Any] = Future()
        self.cancelled = False

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def report_progress(self, share: float, words: str, shown: Any = None) -> None:
        try:
            if self._progress is not None:
                self._progress(share, words, *([shown] if shown else []))
        except Exception:  # noqa: BLE001 - another's code
            _log.exception("A progress callback failed")


class _WorkerSlot:
    """A place for one worker, which is restarted if it dies; all state changes run on its own thread, from a queue."""

    def __init__(self, pool: Pool, device: str | None) -> None:
        self._pool = pool
        self._device = device
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._works: dict[str, _Work] = {}
        self._link: Link | None = None
        self._prepared: Any = None
        self._closed = False
        #: Time, by `time.monotonic`, until which the pool gives this slot no work, since there is no worker for it.
        self.unused_until = 0.0
        self._without_worker_since: float | None = None
        self._thread = threading.Thread(target=self._run_calls, name="foundseg-worker-slot", daemon=True)
        self._thread.start()

    def begin_work(self, work: _Work) -> None:
        self._calls.put(partial(self._begin_work, work))

    def cancel_work(self, work: _Work) -> None:
        work.cancelled = True
        self._calls.put(partial(self._cancel_work, work))

    def leave_worker(self) -> None:
        """Drop the worker, whatever it is doing, and end it if it is ours; can be called from any thread."""
        if (link := self._link) is not None:
            self._calls.put(partial(self._lose, link, Cancelled("The work was cancelled.")))
            # Closed here as well, since the slot's thread may be waiting for this worker to start.
            link.close()

    def close(self) -> None:
        self._closed = True
        self.leave_worker()
        self._calls.put(lambda: None)

    def join(self) -> None:
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    def _run_calls(self) -> None:
        while not (self._closed and self._calls.empty()):
            self._calls.get()()
        if self._link is not None:
            self._lose(self._link, Cancelled("The pool of workers was closed."))

    def _begin_work(self, work: _Work) -> None:
        if self._link is not None and not self._link.alive:
            # The work of the lost worker must end first; the report of its end is in the queue.
            time.sleep(_POLL_SECONDS)
            self.begin_work(work)
            return
        try:
            link = self._link or self._new_link(work)
            self._prepare(link)
            answer = link.ask("stages", self._request(link, work))
        except NoFreeWorkerError as error:
            self._wait_for_worker(work, error)
            return
        except FoundsegError as error:
            if self._link is not None and not self._link.alive:
                self.begin_work(work)
            else:
                work.fail(error)
            return
        self._without_worker_since = None
        self._works[work.id] = work
        answer.add_done_callback(lambda future: self._calls.put(partial(self._end_work, link, work, future)))

    def _request(self, link: Link, work: _Work) -> dict[str, Any]:
        return {
            "job": work.id,
            "topic": link.topic,
            "stages": work.stages,
            "order": work.order,
            "device": self._device,
        }

    def _new_link(self, work: _Work) -> Link:
        for left in reversed(range(_STARTS)):
            if self._closed or work.cancelled:
                break
            try:
                return self._open_link()
            except (NoFreeWorkerError, EngineStartError):
                raise
            except EngineError as error:
                if not left:
                    raise EngineStartError(*error.args) from error
        raise Cancelled("The work was cancelled.")

    def _open_link(self) -> Link:
        def on_death(error: EngineError) -> None:
            self._calls.put(lambda: self._lose(link, error))

        self._link = link = Link(self._pool.source, self._on_event, on_death, self._pool.threads or None)
        self._prepared = None
        try:
            link.open()
            self._prepare(link)
        except BaseException:
            self._link = None
            link.close()
            raise
        return link

    def _prepare(self, link: Link) -> None:
        """Make the worker call the pool's preparation, unless it has done so."""
        wanted = self._pool.preparation
        if wanted is None or wanted is self._prepared:
            return
        function, argument = wanted
        answer = link.ask("stages", self._request(link, _Work(single_stage(function), argument)))
        while not answer.done():
            if not link.alive:
                raise EngineError("The worker ended while it was prepared.")
            wait_for([answer], _PREPARED_POLL_SECONDS)
        if answer.cancelled() or (broken := answer.exception()) is not None:
            reason = "" if answer.cancelled() else f" ({type(broken).__name__}: {broken})"
            # The end of a worker is reported a moment later.
            time.sleep(_REASON_SECONDS if link.alive else 0.0)
            kind = EngineStartError if link.alive else EngineError
            raise kind(f"The connection to the engine broke{reason}. Run again.")
        error = answer.result().error
        if error is not None:
            raise error if isinstance(error, EngineStartError) else EngineStartError(*error.args) from error
        self._prepared = wanted

    def _wait_for_worker(self, work: _Work, error: NoFreeWorkerError) -> None:
        """Try again for a while, then give the work back, so that other slots take it."""
        now = time.monotonic()
        self._without_worker_since = self._without_worker_since or now
        if self._closed or work.cancelled:
            work.fail(Cancelled("The work was cancelled."))
        elif now - self._without_worker_since < _FREE_WORKER_SECONDS:
            time.sleep(_FREE_POLL_SECONDS)
            self.begin_work(work)
        else:
            self.unused_until = now + _UNUSED_SECONDS
            alone = not self._pool._usable_slots()
            work.fail(EngineStartError(*error.args) if alone else Cancelled("No worker was free for it."))

    def _on_event(self, event: dict[str, Any]) -> None:
        if (work := self._works.get(event.get("job", ""))) is not None:
            work.report_progress(event["share"], event["words"], unpacked(event.get("shown")))

    def _end_work(self, link: Link, work: _Work, future: Future[Answer]) -> None:
        if link is not self._link:
            return
        if future.cancelled() or (broken := future.exception()) is not None:
            # The reason, the end of the process, is reported a moment later.
            reason = "" if future.cancelled() else f" ({type(broken).__name__}: {broken})"
            error = EngineError(f"The connection to the engine broke{reason}. Run again.")
            _call_later(_REASON_SECONDS, self._calls.put, partial(self._lose, link, error))
            return
        self._works.pop(work.id, None)
        answer = future.result()
        if answer.error is not None:
            work.fail(answer.error)
        elif not work.future.done():
            work.future.set_result(answer.value)

    def _cancel_work(self, work: _Work) -> None:
        if work.id in self._works and self._link is not None and self._link.alive:
            self._link.cancel(work.id)

    def _lose(self, link: Link | None, error: FoundsegError) -> None:
        """Fail the work of a lost worker, only once."""
        if link is None or link is not self._link:
            return
        self._link = None
        link.close()
        works = self._works
        self._works = {}
        for work in works.values():
            work.fail(error if isinstance(error, Cancelled) else _lost_error(error))


def _call_later(seconds: float, call: Callable[..., None], *args: Any) -> threading.Timer:
    timer = threading.Timer(seconds, call, args)
    timer.daemon = True
    timer.start()
    return timer


def _lost_error(error: FoundsegError) -> WorkerLostError:
    lost = WorkerLostError(*error.args)
    for note in getattr(error, "__notes__", ()):
        lost.add_note(note)
    return lost

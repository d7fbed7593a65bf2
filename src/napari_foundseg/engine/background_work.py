"""Work of the engine's process other than task runs, such as a download; it happens in parallel with runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from napari_foundseg.core.errors import Cancelled, EngineError, FoundsegError

if TYPE_CHECKING:
    from napari_foundseg.engine.link import Link
    from napari_foundseg.engine.stages import Answer, Stage
    from napari_foundseg.tasks.settings import Progress

__all__ = ["BackgroundWork", "WorkQueue"]

_log = logging.getLogger(__name__)


class BackgroundWork:
    """A function call in the engine's process; made by `Engine.work`.

    Parameters
    ----------
    function : callable
        A function of a module that the process can import. It is called with the argument and a `StageContext`, and
        should call the context's `cancelled` several times a second.
    argument : object
        Its first argument, sent as a pickle.
    computes : bool
        Whether it needs the processor, and so waits its turn among the runs of tasks; other work happens in parallel.
    progress : callable, optional
        Called with the share that is done and a description, on a thread of the engine.
    on_end : callable
        Called once with the work, after it has ended.
    """

    def __init__(
        self,
        function: Stage,
        argument: Any,
        *,
        computes: bool,
        progress: Progress | None,
        on_end: Callable[[BackgroundWork], None],
    ) -> None:
        self.id = uuid4().hex
        self.function = function
        self.argument = argument
        self.computes = computes
        self.state: Literal["under way", "done", "failed", "cancelled"] = "under way"
        self.result: Any = None
        self.error: FoundsegError | None = None
        self._progress = progress
        self._on_end = on_end
        self._lock = threading.Lock()
        self._cancel: Callable[[], None] | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """Ask the function to stop; the work ends when the function does."""
        with self._lock:
            self._cancelled = True
            cancel = self._cancel
        if cancel is not None:
            cancel()

    def send(self, link: Link, device: str | None) -> None:
        """Ask the worker to call the function."""
        request = {
            "job": self.id,
            "topic": link.topic,
            "function": self.function,
            "argument": self.argument,
            "computes": self.computes,
            "device": device,
        }
        with self._lock:
            cancelled = self._cancelled
            self._cancel = lambda: link.cancel(self.id)
        if cancelled:
            self.end(error=Cancelled("The work was cancelled."))
            return
        link.ask("work", request).add_done_callback(self._take_answer)

    def report(self, share: float, words: str) -> None:
        """Pass on the progress, if the work has not ended."""
        try:
            if self._progress is not None and self.state == "under way":
                self._progress(share, words)
        except Exception:  # noqa: BLE001 - another's code
            _log.exception("A progress callback failed")

    def end(self, result: Any = None, error: FoundsegError | None = None) -> None:
        """End the work, unless it has ended already."""
        with self._lock:
            if self.state != "under way":
                return
            self.state = "done" if error is None else "cancelled" if isinstance(error, Cancelled) else "failed"
            self.result = result
            self.error = error
        self._on_end(self)

    def _take_answer(self, future: Future[Answer]) -> None:
        if future.cancelled() or future.exception() is not None:
            self.end(error=EngineError("The engine stopped before the work was done. Start it again."))
            return
        answer = future.result()
        self.end(answer.value, answer.error)


class WorkQueue:
    """Work that waits for the worker, and work that was sent to it.

    Parameters
    ----------
    device : str or None
        Device for models.
    """

    def __init__(self, device: str | None) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._waiting: list[BackgroundWork] = []
        self._sent: dict[str, BackgroundWork] = {}

    def add(self, work: BackgroundWork) -> None:
        """Queue work until the worker can take it."""
        with self._lock:
            self._waiting.append(work)

    def send(self, link: Link) -> None:
        """Send all waiting work over an open link."""
        with self._lock:
            works, self._waiting = self._waiting, []
            self._sent = {work.id: work for work in [*self._sent.values(), *works] if work.state == "under way"}
        for work in works:
            try:
                work.send(link, self._device)
            except FoundsegError as error:
                work.end(error=error)

    def report(self, event: dict[str, Any]) -> bool:
        """Pass on a message from the worker; return whether it belongs to one of these works."""
        work = self._sent.get(str(event.get("job")))
        if work is not None and "share" in event:
            work.report(event["share"], event["words"])
        return work is not None

    def fail(self, error: FoundsegError) -> None:
        """End all work with an error: the worker is lost or could not be started."""
        with self._lock:
            works = [*self._waiting, *self._sent.values()]
            self._waiting = []
            self._sent = {}
        for work in works:
            work.end(error=error)

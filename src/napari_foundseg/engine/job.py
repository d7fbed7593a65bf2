"""`Job`: a run in the engine and its result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from napari_foundseg.core.errors import Cancelled, EngineError, FoundsegError

if TYPE_CHECKING:
    from napari_foundseg.core.result import Segmentation
    from napari_foundseg.tasks.run_request import RunRequest
    from napari_foundseg.tasks.settings import Progress

__all__ = ["Job", "JobState"]

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]


class Job:
    """A run in the engine; made by `Engine.submit`.

    Parameters
    ----------
    request : RunRequest
        The run.
    progress : callable, optional
        Called with the share that is done and a description, on a thread of the engine, while the job runs.
    replace : str, optional
        Key of jobs that replace each other: of the waiting jobs with this key, only the latest runs.
    on_end : callable
        Called once with the job, after it has ended.
    """

    def __init__(
        self,
        request: RunRequest,
        *,
        progress: Progress | None,
        replace: str | None,
        on_end: Callable[[Job], None],
    ) -> None:
        self.id = uuid4().hex
        #: None after the job has ended: a finished job must not keep the pixels of its image.
        self.request: RunRequest | None = request
        self.replace = replace
        self.state: JobState = "waiting"
        self.result: Segmentation | None = None
        self.error: FoundsegError | None = None
        #: Messages to the engine's thread while this job runs.
        self.messages: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._progress = progress
        self._on_end = on_end
        self._lock = threading.Lock()
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self._ended.is_set()

    def cancel(self) -> None:
        """End the job now; a result that arrives later is discarded."""
        if self.end("cancelled", error=Cancelled("The run was cancelled.")):
            self.messages.put(("cancel", None))

    def wait(self, timeout: float | None = None) -> Segmentation:
        """Wait for the result; for scripts, never for the window's thread."""
        if not self._ended.wait(timeout):
            raise EngineError(f"The run has not ended after {timeout} s; wait longer or cancel it.")
        if self.result is None:
            raise self.error or EngineError("The run ended without a result.")
        return self.result

    def begin(self) -> bool:
        """Mark the job as running; return False if it has ended already."""
        with self._lock:
            if self.state == "waiting":
                self.state = "running"
            return self.state == "running"

    def end(self, state: JobState, result: Segmentation | None = None, error: FoundsegError | None = None) -> bool:
        """End the job; return False if it had ended already."""
        with self._lock:
            if self.ended:
                return False
            self.state = state
            self.result = result
            self.error = error
            self._ended.set()
        self._on_end(self)
        return True

    def report(self, share: float, words: str, shown: Any = None) -> None:
        """Pass on the progress of the job, or the reason why it waits."""
        if self._progress is not None and not self.ended:
            self._progress(share, words, *([shown] if shown else []))

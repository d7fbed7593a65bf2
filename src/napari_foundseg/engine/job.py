"""`Job`: a run that was asked for, and what became of it."""

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
    """A run that was asked for; made by `Engine.submit`.

    Parameters
    ----------
    request : RunRequest
        What to run.
    progress : callable, optional
        Told the share done and words, on a thread of the engine, while the job runs.
    replace : str, optional
        Of the waiting jobs with this key only the latest runs.
    on_end : callable
        Called once with the job when it has ended.
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
        #: None once the job has ended: a finished job must not keep the pixels of its image.
        self.request: RunRequest | None = request
        self.replace = replace
        self.state: JobState = "waiting"
        self.result: Segmentation | None = None
        self.error: FoundsegError | None = None
        #: What the engine's thread waits for while this job runs.
        self.mail: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._progress, self._on_end = progress, on_end
        self._lock = threading.Lock()
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self._ended.is_set()

    def cancel(self) -> None:
        """End the job now; a result that comes later is discarded."""
        if self.end("cancelled", error=Cancelled("The run was cancelled.")):
            self.mail.put(("cancel", None))

    def wait(self, timeout: float | None = None) -> Segmentation:
        """Wait for the result; for scripts, never for the window's thread.

        Parameters
        ----------
        timeout : float, optional
            Seconds.

        Returns
        -------
        Segmentation
            The result.

        Raises
        ------
        FoundsegError
            What the job failed with, `Cancelled` if it was cancelled.
        """
        if not self._ended.wait(timeout):
            raise EngineError(f"The run has not ended after {timeout} s; wait longer or cancel it.")
        if self.result is None:
            raise self.error or EngineError("The run ended without a result.")
        return self.result

    def begin(self) -> bool:
        """Mark the job as running.

        Returns
        -------
        bool
            False if it has ended before.
        """
        with self._lock:
            if self.state == "waiting":
                self.state = "running"
            return self.state == "running"

    def end(self, state: JobState, result: Segmentation | None = None, error: FoundsegError | None = None) -> bool:
        """End the job, unless it has ended.

        Parameters
        ----------
        state : {"done", "failed", "cancelled"}
            How.
        result : Segmentation, optional
            Of a job that is done.
        error : FoundsegError, optional
            Of one that is not.

        Returns
        -------
        bool
            Whether this call ended it.
        """
        with self._lock:
            if self.ended:
                return False
            self.state, self.result, self.error = state, result, error
            self._ended.set()
        self._on_end(self)
        return True

    def report(self, share: float, words: str, shown: Any = None) -> None:
        """Tell the progress of a running job.

        Parameters
        ----------
        share : float
            0 to 1.
        words : str
            What is being done.
        shown : dict, optional
            What a fit has to show; only those who run fits are given it.
        """
        if self._progress is not None and self.state == "running":
            self._progress(share, words, *([shown] if shown else []))

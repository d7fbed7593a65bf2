"""`RunFollower`: starts a run and reports its progress and end."""

from __future__ import annotations

import time
from typing import Any

from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.errors import Cancelled
from napari_foundseg.widgets.qt.late_collections import postpone_collections, resume_collections
from napari_foundseg.widgets.runs.run import Run

__all__ = ["RunFollower"]


class RunFollower(QObject):
    """Follows one run at a time; signals of runs that it no longer follows are ignored.

    All signals are emitted in the window's thread. Signals that report the end are emitted after `run` is None again.
    """

    #: Share that is done, 0 to 1, and the step in words.
    progressed = Signal(float, str)
    #: An intermediate result of the run, a dict.
    shown = Signal(object)
    #: The run has succeeded: the `Run` and its `Segmentation`.
    done = Signal(object, object)
    #: The run has failed: the error.
    failed = Signal(object)
    #: The run was cancelled elsewhere, such as by the engine.
    cancelled = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        #: The run that is followed, or None.
        self.run: Run | None = None
        self._started = 0.0

    @property
    def seconds(self) -> float:
        """Time since the latest run was started."""
        return time.perf_counter() - self._started

    def start(self, run: Run) -> None:
        """Start a run and follow it instead of the previous one, which is not cancelled.

        Raises
        ------
        FoundsegError
            If the engine cannot be started.
        """
        self.run = run
        self._started = time.perf_counter()
        postpone_collections(self)
        run.progressed.connect(self._progress, Qt.ConnectionType.QueuedConnection)
        run.shown.connect(self._show, Qt.ConnectionType.QueuedConnection)
        run.ended.connect(self._end, Qt.ConnectionType.QueuedConnection)
        run.start()

    def cancel(self) -> Run | None:
        """Cancel the run and return it; none of its signals arrives afterwards."""
        run = self.drop()
        if run is not None:
            run.cancel()
        return run

    def drop(self) -> Run | None:
        """Stop following the run and return it; it continues, and its result is ignored."""
        run = self.run
        self.run = None
        resume_collections(self)
        return run

    def _progress(self, share: float, words: str) -> None:
        if self.sender() is self.run:
            self.progressed.emit(share, words)

    def _show(self, shown: dict[str, Any]) -> None:
        if self.sender() is self.run:
            self.shown.emit(shown)

    def _end(self, run: Run, job: Any) -> None:
        if run is not self.run:
            return
        self.drop()
        if job.state == "done":
            self.done.emit(run, job.result)
        elif isinstance(job.error, Cancelled):
            self.cancelled.emit()
        else:
            self.failed.emit(job.error)

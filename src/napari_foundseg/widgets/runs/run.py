"""`Run`: a run in the engine, with Qt signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.widgets.runs.shared_engine import shared_engine

if TYPE_CHECKING:
    from napari_foundseg.core.result import Segmentation
    from napari_foundseg.engine.client import Job
    from napari_foundseg.tasks.run_request import RunRequest

__all__ = ["Run"]


class Run(QObject):
    """One run of a task.

    The engine calls back on its own threads. The calls are turned into signals here, which Qt delivers in the window's
    thread to receivers that are methods of Qt objects.

    Parameters
    ----------
    request : RunRequest
        The request, in pixels of the image's finest level.
    replace : str, optional
        Of waiting runs with the same key, only the latest is run.
    """

    progressed = Signal(float, str)
    #: An intermediate result of a run, a dict.
    shown = Signal(object)
    ended = Signal(object, object)

    def __init__(self, request: RunRequest, replace: str | None = None) -> None:
        super().__init__()
        self.request = request
        self._replace = replace
        self._job: Job | None = None

    def start(self) -> None:
        """Submit the run to the engine; return immediately."""
        self._job = shared_engine().submit(
            self.request.at_level(), progress=self._report_progress, done=self._report_end, replace=self._replace
        )

    def at_full_resolution(self, found: Segmentation) -> Segmentation:
        """Return a result of the run in pixels of the finest level."""
        level = self.request.level
        return found if level is None else level.result(found)

    def cancel(self) -> None:
        """Cancel the run; a late result is discarded."""
        if self._job is not None:
            self._job.cancel()

    def _report_progress(self, share: float, words: str, shown: Any = None) -> None:
        self.progressed.emit(share, words)
        if shown:
            self.shown.emit(shown)

    def _report_end(self, job: Any) -> None:
        self.ended.emit(self, job)

"""A split by a model in the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.side_tasks.split_object import SplitInputs, SplitSettings, parts_of
from napari_foundseg.widgets.runs.run import Run
from napari_foundseg.widgets.runs.run_follower import RunFollower

if TYPE_CHECKING:
    from napari_foundseg.core.image import Image
    from napari_foundseg.core.result import Segmentation

__all__ = ["SplitRun"]


class SplitRun(QObject):
    """One split; it ends once, with parts or with the reason why there are none.

    Parameters
    ----------
    label : int
        The label of the object.
    inputs : SplitInputs
        The object as it is now, and the clicks.
    """

    #: The split has ended; this object.
    ended = Signal(object)

    def __init__(self, parent: QObject, label: int, inputs: SplitInputs, image: Image, model: str) -> None:
        super().__init__(parent)
        self.label = label
        self.inputs = inputs
        self.model = model
        #: The part of each pixel in the object's box, numbered like the clicks.
        self.parts: NDArray[Any] | None = None
        #: The evidence that the model used.
        self.evidence: list[str] = []
        #: Why there are no parts.
        self.why_not = ""
        self._image = image
        self._follower = RunFollower(self)
        self._follower.done.connect(self._take)
        self._follower.failed.connect(lambda error: self._end(str(error)))
        self._follower.cancelled.connect(lambda: self._end("its run was cancelled."))

    def start(self) -> None:
        """Start the run in the engine; `ended` follows, immediately if the run cannot start."""
        request = RunRequest("split", self._image, self.inputs, SplitSettings(), self.model)
        try:
            self._follower.start(Run(request))
        except FoundsegError as error:
            self._end(str(error))

    def give_up(self, why: str) -> None:
        """End now, without parts."""
        self._follower.cancel()
        self._end(why)

    def drop(self) -> None:
        """Cancel without emitting `ended`."""
        self._follower.cancel()
        self.deleteLater()

    def _take(self, _run: Run, result: Segmentation) -> None:
        self.parts = parts_of(result, self.inputs, self._image.label_axes)
        self.evidence = list(result.provenance.get("evidence", ()))
        self.ended.emit(self)
        self.deleteLater()

    def _end(self, why: str) -> None:
        self.why_not = why
        self.ended.emit(self)
        self.deleteLater()

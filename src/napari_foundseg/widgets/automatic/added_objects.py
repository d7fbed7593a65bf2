"""The objects of a run, added to an existing Labels layer as one step, even if a threshold is changed later."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.object_boxes import box_around
from napari_foundseg.core.labels import label_dtype

if TYPE_CHECKING:
    from napari_foundseg.core.editing.history import EditStep
    from napari_foundseg.core.editing.object_facts import Facts
    from napari_foundseg.core.labels import Overlap
    from napari_foundseg.core.result import Segmentation
    from napari_foundseg.widgets.editing.labels_history import LabelsHistory
    from napari_foundseg.widgets.layers.overlay import Overlay

__all__ = ["AddedObjects"]

_SCORES = ("predicted_iou", "stability_score")


class AddedObjects:
    """Writes results of one run into a layer.

    Parameters
    ----------
    history : LabelsHistory
        History of the layer, which must be writable.
    overlay : Overlay
        The layer's overlay on its image.
    overlap : {'keep others', 'overwrite', 'fill free only'}
        Which object gets a pixel that both an object of the layer and one of the run cover.
    done : callable
        Called with whether anything was written, or with the error.
    """

    def __init__(
        self,
        history: LabelsHistory,
        overlay: Overlay,
        overlap: Overlap,
        done: Callable[[bool | Exception], None],
    ) -> None:
        self.labels = history.layer
        self._history = history
        self._overlay = overlay
        self._overlap = overlap
        self._done = done
        self._step: EditStep | None = None
        self._busy: Segmentation | None = None
        self._next: Segmentation | None = None

    @property
    def changeable(self) -> bool:
        """Whether the layer was not edited since the objects were written."""
        return self._busy is not None or self._step is None or self._history.last is self._step

    def write(self, segmentation: Segmentation) -> None:
        """Write a result, which replaces the previous one."""
        if self._busy is not None:
            self._next = segmentation
            return
        if self._step is not None and self._history.last is self._step:
            self._history.revert()
        self._busy = segmentation
        self._step = None
        self._history.write_soon("automatic masks", self._prepare, self._written)

    def _prepare(self) -> tuple[Callable[[NDArray[Any]], Any], Facts]:
        assert self._busy is not None
        segmentation = self._busy
        before = self._history.free_id() - 1
        table = segmentation.table
        scores = [name for name in _SCORES if name in table]
        known: dict[int, dict[str, Any]] = {
            int(label) + before: dict(zip(scores, map(float, row), strict=True))
            for label, *row in table[["label", *scores]].itertuples(index=False)
        }
        if "parent" in table:
            for label, parent in table[["label", "parent"]].itertuples(index=False):
                known[int(label) + before]["parent"] = int(parent) + before if parent else 0
        overlap = self._overlap

        def make(array: NDArray[Any]) -> list[tuple[tuple[slice, ...], NDArray[Any]]]:
            found = self._overlay.expanded(segmentation.labels)
            taken = found > 0 if overlap == "overwrite" else (found > 0) & (array == 0)
            box = box_around(taken)
            own = np.zeros(0, np.int64) if box is None else found[box][taken[box]].astype(np.int64) + before
            for label in set(known) - set(np.unique(own).tolist()):
                del known[label]
            if box is None:
                return []
            values = array[box].astype(np.promote_types(array.dtype, label_dtype(int(own.max()))))
            values[taken[box]] = own
            return [(box, values)]

        return make, known

    def _written(self, result: bool | Exception) -> None:
        self._busy = None
        if result is True:
            self._step = self._history.last
        following = self._next
        self._next = None
        if following is None:
            self._done(result)
        else:
            self.write(following)

"""Writing slices into a Labels layer as they arrive, all as one undoable step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from napari_foundseg.core.masks import Mask

if TYPE_CHECKING:
    from napari_foundseg.core.editing.difference import SliceBox
    from napari_foundseg.core.editing.history import EditStep
    from napari_foundseg.widgets.editing.labels_history import LabelsHistory
    from napari_foundseg.widgets.layers.overlay import Overlay

__all__ = ["SliceWriter"]

Index = tuple[int, ...]


class SliceWriter:
    """Writes objects slice by slice; other objects keep their pixels.

    Parameters
    ----------
    history : LabelsHistory
        History of the layer.
    overlay : Overlay
        The position of the image in the layer.
    name : str
        Name of the step.
    """

    def __init__(self, history: LabelsHistory, overlay: Overlay, name: str) -> None:
        self.history = history
        self._overlay = overlay
        self._name = name
        self._step: EditStep | None = None
        #: Slices that were written, by object.
        self.done: dict[int, set[Index]] = {}

    @property
    def fits(self) -> bool:
        """Whether the layer still has the shape of the image."""
        return tuple(self.history.layer.data.shape) == self._overlay.shape

    def write(self, parts: Iterable[tuple[Index, Mapping[int, Mask]]]) -> None:
        """Write masks by slice and object; each object gets exactly its mask there, except pixels of other objects."""
        latest: dict[Index, dict[int, Mask]] = {}
        for index, masks in parts:
            latest.setdefault(index, {}).update(masks)
        pieces = [self._piece(index, masks) for index, masks in latest.items()]
        scores = {
            label: {"predicted_iou": float(mask.predicted_iou), "stability_score": float(mask.stability_score)}
            for masks in latest.values()
            for label, mask in masks.items()
            if label not in self.done
        }
        for index, masks in latest.items():
            for label in masks:
                self.done.setdefault(label, set()).add(index)
        for i, piece in enumerate(pieces):
            self._write([piece], scores if i == 0 else {})

    def erase(self, label: int, indices: Iterable[Index]) -> None:
        """Remove an object from slices in which it was not found."""
        for index in indices:
            self._write([self._piece(index, {label: None})], {})

    def _write(self, pieces: list[tuple[SliceBox, np.ndarray]], known: dict[int, dict[str, float]]) -> None:
        self._step = self.history.write_more(self._name, pieces, self._step, known)

    def _piece(self, index: Index, masks: Mapping[int, Mask | None]) -> tuple[SliceBox, np.ndarray]:
        """Return the box of a slice that may change, and its new values."""
        whole = self._overlay.plane(np.asarray(self.history.layer.data), index)
        corners = [mask.box for mask in masks.values() if mask is not None and mask.area]
        old = np.isin(whole, list(masks))
        if old.any():
            corners.append(Mask.from_array(old).box)
        y0, x0 = (min((box[k] for box in corners), default=0) for k in (0, 1))
        y1, x1 = (max((box[k] for box in corners), default=0) for k in (2, 3))
        around = Mask((y0, x0, y1, x1), np.ones((y1 - y0 + 1, x1 - x0 + 1), bool), index=index)
        box = self._overlay.box(around)
        values = np.array(self.history.layer.data[box], np.uint64)
        plane = self._overlay.plane(values, (0,) * len(index))
        plane[np.isin(plane, list(masks))] = 0
        for label, mask in masks.items():
            if mask is not None and mask.area:
                part = plane[mask.box[0] - y0 : mask.box[2] - y0 + 1, mask.box[1] - x0 : mask.box[3] - x0 + 1]
                part[mask.crop & (part == 0)] = label
        return box, values

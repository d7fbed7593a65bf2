"""The Labels layer of an image's objects: where accepted masks go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_foundseg.core.history import Box
from napari_foundseg.core.labels import Overlap, add_mask, next_free_id
from napari_foundseg.core.masks import Mask
from napari_foundseg.widgets.history import LabelsHistory, shared_history
from napari_foundseg.widgets.overlay import Overlay
from napari_foundseg.widgets.results import unique_name

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image as ImageLayer

    from napari_foundseg.core.image import Image

__all__ = ["Objects", "commit", "refine"]


class Objects:
    """One Labels layer for each image, made when it is first needed.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._histories: dict[ImageLayer, LabelsHistory] = {}

    def of(self, layer: ImageLayer, image: Image) -> LabelsHistory | None:
        """Return the objects of an image.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        image : Image
            The layer as an image.

        Returns
        -------
        LabelsHistory or None
            None where there are none yet, or their layer has left the viewer or does not fit any more.
        """
        history = self._histories.get(layer)
        if history is None or (
            history.layer in self._viewer.layers and history.layer.data.shape == Overlay(layer, image).shape
        ):
            return history
        history.leave()
        del self._histories[layer]
        return None

    def add(self, layer: ImageLayer, image: Image, data: NDArray[Any] | None = None) -> LabelsHistory:
        """Add a layer of objects to an image; the person goes on with the tool in hand.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        image : Image
            The layer as an image.
        data : ndarray of int, optional
            Objects that are there already, of the overlay's shape.

        Returns
        -------
        LabelsHistory
            Of the new layer.
        """
        overlay = Overlay(layer, image)
        pixels = np.zeros(overlay.shape, np.uint16) if data is None else data
        labels = Labels(pixels, name=unique_name(self._viewer.layers, "foundseg objects"), **overlay.transforms)
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(labels)
        if active is not None:
            # Adding a layer must not take the tool away.
            self._viewer.layers.selection.active = active
        if (old := self._histories.pop(layer, None)) is not None:
            old.leave()
        self._histories[layer] = shared_history(labels, image)
        return self._histories[layer]

    def release(self) -> None:
        """Let go of all layers."""
        for history in self._histories.values():
            history.leave()
        self._histories.clear()


def commit(history: LabelsHistory, overlay: Overlay, masks: Sequence[Mask], overlap: Overlap) -> list[int]:
    """Write masks as new objects, in one step.

    Parameters
    ----------
    history : LabelsHistory
        Of the layer to write into.
    overlay : Overlay
        Of the layer over its image.
    masks : sequence of Mask
        Of any slices.
    overlap : {'keep others', 'overwrite'}
        Who has a pixel that both an object and a mask want.

    Returns
    -------
    list of int
        The new ids; a mask that is left without a pixel gets none.
    """
    first = next_free_id(history.layer.data)
    written: list[int] = []

    def pieces() -> Iterator[tuple[Box, NDArray[Any]]]:
        for mask in masks:
            label = first + len(written)
            box = overlay.box(mask)
            # A copy that holds any id; each mask sees what the ones before it have written.
            values = np.array(history.layer.data[box], np.uint64)
            if add_mask(overlay.plane(values, (0,) * len(mask.index)), mask.crop, label, overlap):
                written.append(label)
                yield box, values

    history.write("accept", pieces())
    return written


def refine(history: LabelsHistory, overlay: Overlay, mask: Mask, label: int, overlap: Overlap) -> bool:
    """Give an object another outline on one slice, in one step.

    Parameters
    ----------
    history : LabelsHistory
        Of the layer to write into.
    overlay : Overlay
        Of the layer over its image.
    mask : Mask
        The new outline.
    label : int
        The object.
    overlap : {'keep others', 'overwrite'}
        Whether it may take pixels from other objects; what it gives up becomes background.

    Returns
    -------
    bool
        Whether a pixel changed.
    """
    plane = overlay.plane(history.layer.data, mask.index)
    rows, columns = np.nonzero(plane == label)
    y0, x0, y1, x1 = mask.box
    if len(rows):
        y0, x0 = min(y0, int(rows.min())), min(x0, int(columns.min()))
        y1, x1 = max(y1, int(rows.max())), max(x1, int(columns.max()))
    around = Mask((y0, x0, y1, x1), np.zeros((y1 - y0 + 1, x1 - x0 + 1), bool), index=mask.index)
    box = overlay.box(around)
    values = np.array(history.layer.data[box])
    region = overlay.plane(values, (0,) * len(mask.index))
    region[region == label] = 0
    top, left = mask.box[0] - y0, mask.box[1] - x0
    inside = region[top : top + mask.crop.shape[0], left : left + mask.crop.shape[1]]
    return add_mask(inside, mask.crop, label, overlap) and history.write("refine", [(box, values)])

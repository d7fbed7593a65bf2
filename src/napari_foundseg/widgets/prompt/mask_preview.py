"""The preview of masks that are not accepted yet: a Labels layer in which only changed pixels are redrawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from napari_foundseg.widgets.controls.colours import GUESS, PREVIEW, listed_colormap
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.unique_name import unique_name

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.core.masks import Mask
    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["MaskPreview"]

#: Labels of the layer, which select its colours.
_MASK = 1
_OUTLINE = 2


class MaskPreview:
    """A Labels layer that displays masks; nothing is read from it.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer; the layer is added to it.
    """

    def __init__(self, viewer: ViewerModel, target: ImageOnLayer) -> None:
        self._overlay = overlay = target.overlay
        self._shown: list[Mask] = []
        self.layer = Labels(
            np.zeros(overlay.shape, np.uint8),
            name=unique_name(viewer.layers, "foundseg preview"),
            colormap=listed_colormap([PREVIEW, GUESS]),
            opacity=0.5,
            metadata={TOOL: True},
            **overlay.transforms,
        )
        self.layer.editable = False
        viewer.add_layer(self.layer)

    def show(self, masks: Sequence[Mask]) -> None:
        """Show these masks, on any slices, instead of the previous ones."""
        self._show_masks(masks, _MASK)

    def show_outline(self, mask: Mask | None) -> None:
        """Show the outline of the mask under the pointer; None hides it."""
        self._show_masks([] if mask is None or not mask.crop.size else [_mask_outline(mask)], _OUTLINE)

    def _show_masks(self, masks: Sequence[Mask], value: int) -> None:
        shown = [mask for mask in masks if mask.crop.size]
        for index in {mask.index for mask in (*self._shown, *shown)}:
            self._redraw(
                index, [m for m in self._shown if m.index == index], [m for m in shown if m.index == index], value
            )
        self._shown = shown

    def _redraw(self, index: tuple[int, ...], before: list[Mask], after: list[Mask], value: int) -> None:
        boxes = np.array([mask.box for mask in (*before, *after)])
        y0, x0 = boxes[:, :2].min(0)
        y1, x1 = boxes[:, 2:].max(0)
        wanted = np.zeros((y1 - y0 + 1, x1 - x0 + 1), np.uint8)
        for mask in after:
            top, left, bottom, right = mask.box
            wanted[top - y0 : bottom - y0 + 1, left - x0 : right - x0 + 1][mask.crop] = value
        plane = self._overlay.plane(self.layer.data, index)[y0 : y1 + 1, x0 : x1 + 1]
        rows, columns = np.nonzero(plane != wanted)
        if len(rows):
            self.layer.data_setitem(self._overlay.pixels(index, rows + y0, columns + x0), wanted[rows, columns])


def _mask_outline(mask: Mask) -> Mask:
    """Return the rim of a mask; its width grows with the object, so that it is visible."""
    from scipy import ndimage

    width = max(1, round(np.sqrt(mask.area) / 25))
    inner = ndimage.binary_erosion(mask.crop, np.ones((3, 3)), iterations=width)
    return replace(mask, crop=mask.crop & ~inner)

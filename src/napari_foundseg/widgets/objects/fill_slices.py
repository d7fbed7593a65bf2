"""The tool *Fill between slices* of the form *Correct*."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_foundseg.core.editing.edit_progress import EditProgress
from napari_foundseg.core.editing.slice_filling import FilledSlices, axis_with_gaps, fill_between_slices, slices_text
from napari_foundseg.core.errors import PromptError
from napari_foundseg.widgets.layers.layer_axes import label_spacing, layer_axes

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

    from napari_foundseg.core.editing.edits import Pieces

__all__ = ["SliceFilling"]


class SliceFilling:
    """Fills the slices between those in which objects of a layer are painted, at the viewer's current point.

    Slices are filled along Z, or along time if there is no Z. If the slider is on another axis, they are filled along
    the axis with the fewest painted slices.
    """

    def __init__(self, viewer: Viewer, layer: Labels, ids: list[int]) -> None:
        if layer.ndim < 3:
            raise PromptError("The layer has no slices. Fill between slices acts on stacks and films.")
        self._ids = ids
        self._letters = layer_axes(layer)
        self._spacing = label_spacing(layer)[0]
        inside = np.floor(np.array(layer.world_to_data(viewer.dims.point)) + 0.5).astype(int)
        self._point = [int(p) for p in np.clip(inside, 0, np.array(layer.data.shape) - 1)]
        hidden = [axis - (viewer.dims.ndim - layer.ndim) for axis in viewer.dims.not_displayed]
        slices = [axis for axis in hidden if axis >= 0 and self._spacing[axis] is not None]
        usual = self._letters.find("Z") if "Z" in self._letters else 0
        self._axes = list(dict.fromkeys([*slices, usual]))
        self._axis = usual
        self._filled = FilledSlices()
        self.progress = EditProgress()

    def make(self, labels: Any) -> Pieces:
        """Return the pieces to write: boxes and their new values."""
        self._axis = axis_with_gaps(labels, self._ids, self._axes, self._point, self._spacing)
        self._filled = fill_between_slices(
            labels, self._ids, self._axis, self._point, self._spacing, self._letters, self.progress
        )
        return self._filled.pieces

    def tell(self, say: Callable[[str], None]) -> None:
        """Pass a sentence to `say` on the filled slices and on the pixels that stayed with other objects."""
        letter = self._letters[self._axis]
        filled = "; ".join(f"object {i}: {letter} {slices_text(at)}" for i, at in self._filled.slices.items())
        words = f"Filled {filled}." if filled else ""
        if self._filled.spared:
            words += f" {self._filled.spared} pixels stayed with other objects."
        say(words.strip())

"""The choice in the form *Correct* between the whole object and the current slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QComboBox

from napari_foundseg.core.editing.one_slice import changed_slices, in_box
from napari_foundseg.core.errors import PromptError
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.layers.layer_axes import displayed_axes, label_spacing

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

    from napari_foundseg.core.editing.difference import SliceBox
    from napari_foundseg.core.editing.edits import Pieces, Spacing

__all__ = ["SliceScope"]


class SliceScope(QComboBox):
    """Whether tools change the whole object, in all of its slices, or only its part in the current slice."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        #: Number of slices that the last edit changed; 0 if the layer has no slices.
        self.changed_slices = 0
        self.addItems(["Whole object", "This slice"])
        self.setAccessibleName("Act on")
        self.setToolTip(
            "What the tools change in a stack: the whole object in 3-D, or its part in the slice that the viewer shows."
        )

    @property
    def one_slice(self) -> bool:
        """Whether tools change only the current slice."""
        return self.isEnabled() and self.currentIndex() == 1

    def follow(self, layer: Labels | None) -> None:
        """Enable the choice if the layer has slices."""
        why_not = "There is no Labels layer." if layer is None else "" if layer.ndim > 2 else "The layer has one slice."
        set_usable(self, why_not)

    def spacing(self, layer: Labels) -> Spacing:
        """Return the size of a pixel along each axis; None along axes that the tools do not connect."""
        spacing = label_spacing(layer)[0]
        if not self.one_slice:
            return spacing
        plane = displayed_axes(self._viewer, layer)
        return [size if axis in plane else None for axis, size in enumerate(spacing)]

    def edit(self, layer: Labels, ids: Sequence[int], make: Callable[[Any], Pieces]) -> Callable[[Any], Pieces]:
        """Return an edit that is limited to the chosen scope, and that counts the slices that it changes.

        Raises
        ------
        PromptError
            If only the current slice is to be changed, and the viewer shows no slice.
        """
        plane = displayed_axes(self._viewer, layer)
        box = self._shown(layer, plane) if self.one_slice else None

        def make_there(labels: Any) -> Pieces:
            pieces = make(labels) if box is None else in_box(make(_with(labels[box], ids)), box)
            self.changed_slices = changed_slices(labels, pieces, plane)
            return pieces

        return make_there

    def check_clicks(self, layer: Labels, points: Sequence[Sequence[float]]) -> None:
        """Raise a PromptError if only one slice is to be split, but the clicks are in several."""
        if not self.one_slice:
            return
        plane = displayed_axes(self._viewer, layer)
        slices = {tuple(round(c) for axis, c in enumerate(point) if axis not in plane) for point in points}
        if len(slices) > 1:
            raise PromptError(
                "The clicks are in several slices. Choose “Whole object” below Act on to split it in 3-D, or click "
                "both parts in one slice."
            )

    def in_words(self) -> str:
        """Return the number of slices that the last edit changed, in words; empty if the layer has no slices."""
        count = self.changed_slices
        return f"{count} slice{'' if count == 1 else 's'} changed." if count else ""

    def _shown(self, layer: Labels, plane: tuple[int, int]) -> SliceBox:
        if self._viewer.dims.ndisplay != 2:
            raise PromptError("“This slice” needs the 2-D view. Press the 2D/3D button below the layer list first.")
        shape = layer.data.shape
        at = np.floor(np.array(layer.world_to_data(self._viewer.dims.point)) + 0.5).astype(int)
        for axis, n in enumerate(shape):
            if axis not in plane and not 0 <= at[axis] < n:
                raise PromptError(f"The viewer shows no slice of {layer.name!r} here. Move the slider to one of them.")
        return tuple(
            slice(0, n) if axis in plane else slice(int(at[axis]), int(at[axis]) + 1) for axis, n in enumerate(shape)
        )


def _with(labels: Any, ids: Sequence[int]) -> Any:
    missing = [label for label in ids if not (labels == label).any()]
    if missing:
        which = f"Object {missing[0]} is" if len(missing) == 1 else f"Objects {', '.join(map(str, missing[:5]))} are"
        raise PromptError(
            f"{which} not in this slice. Move the slider to a slice of the object, or choose “Whole object”."
        )
    return labels

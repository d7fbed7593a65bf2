"""The region of an image to segment: all slices, the current one, the visible part, or a drawn rectangle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.layers import Shapes
from qtpy.QtWidgets import QComboBox, QWidget

from napari_foundseg.core.errors import PromptError
from napari_foundseg.widgets.layers.layer_conversion import current_index, region_from_shape, visible_region

if TYPE_CHECKING:
    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["RegionChoice", "find_shapes"]

_WHOLE = "Whole image, all slices"
_SLICE = "Current slice"
_VISIBLE = "Visible region"
_DRAWN = "Drawn rectangle"


class RegionChoice(QComboBox):
    """A combo box for the part of an image to segment."""

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.addItems([_WHOLE, _SLICE, _VISIBLE, _DRAWN])
        self.setAccessibleName("Region")
        self.setToolTip(
            "Part of the image to segment. Visible region: the part of the current slice that the canvas shows. "
            "Drawn rectangle: the selected rectangle of a Shapes layer, on the current slice."
        )

    @property
    def in_view(self) -> bool:
        """Whether *Visible region* is chosen."""
        return self.currentText() == _VISIBLE

    def region_fields(self, target: ImageOnLayer) -> dict[str, Any]:
        """Return the chosen slice and region as fields of `tasks.regions.Region`, in data pixels.

        Raises
        ------
        PromptError
            If no part of the image is in view, or no rectangle is drawn.
        """
        choice = self.currentText()
        if choice == _WHOLE:
            return {}
        fields: dict[str, Any] = {"index": current_index(self._viewer, target)}
        if choice == _VISIBLE:
            fields["region"] = visible_region(self._viewer, target)
        elif choice == _DRAWN:
            fields["region"] = region_from_shape(find_shapes(self._viewer), target)
        return fields


def find_shapes(viewer: ViewerModel) -> Shapes:
    """Return the Shapes layer with the rectangle.

    Layers with selected shapes come first, then the active layer, then the topmost one.

    Raises
    ------
    PromptError
        If there is none.
    """
    layers: list[Shapes] = [layer for layer in viewer.layers if isinstance(layer, Shapes)]
    chosen = [layer for layer in layers if layer.selected_data] or [layer for layer in layers if len(layer.data)]
    active = viewer.layers.selection.active
    if isinstance(active, Shapes) and active in chosen:
        return active
    if not chosen:
        raise PromptError("No rectangle is drawn. Add a Shapes layer, draw a rectangle on the image, then run.")
    return chosen[-1]

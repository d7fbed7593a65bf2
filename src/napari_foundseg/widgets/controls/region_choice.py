"""Where a run looks: all slices, one, what is in view, or a drawn rectangle."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Shapes
from qtpy.QtWidgets import QComboBox, QWidget

from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.widgets.layers.layer_conversion import current_index, region_from_shape, visible_region

__all__ = ["RegionChoice", "meant_shapes"]

_WHOLE, _SLICE, _VISIBLE, _DRAWN = "Whole image, all slices", "Current slice", "Visible region", "Drawn rectangle"


class RegionChoice(QComboBox):
    """A choice of where to look.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.addItems([_WHOLE, _SLICE, _VISIBLE, _DRAWN])
        self.setAccessibleName("Region")
        self.setToolTip(
            "Where to look. Visible region: the part of the current slice in view. "
            "Drawn rectangle: the selected rectangle of a Shapes layer, on the current slice."
        )

    @property
    def in_view(self) -> bool:
        """Whether what is in view is chosen."""
        return self.currentText() == _VISIBLE

    def given(self, layer: ImageLayer, image: Image) -> dict[str, Any]:
        """Return slice and region as chosen.

        Parameters
        ----------
        layer : napari.layers.Image
            The chosen layer.
        image : Image
            The layer as an image.

        Returns
        -------
        dict
            Fields of `tasks.regions.Region`, in data pixels.

        Raises
        ------
        PromptError
            If nothing of the image is in view, or no rectangle is drawn.
        """
        choice = self.currentText()
        if choice == _WHOLE:
            return {}
        given: dict[str, Any] = {"index": current_index(self._viewer, layer, image)}
        if choice == _VISIBLE:
            given["region"] = visible_region(self._viewer, layer, image)
        elif choice == _DRAWN:
            given["region"] = region_from_shape(meant_shapes(self._viewer), layer, image)
        return given


def meant_shapes(viewer: ViewerModel) -> Shapes:
    """Return the Shapes layer that a person means.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.

    Returns
    -------
    napari.layers.Shapes
        The active one, else one with a selected shape, else the last that has shapes.

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

"""The layer that shows the current clusters during a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_foundseg.core.classes.class_table import class_colour
from napari_foundseg.widgets.controls.colours import listed_colormap
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.unique_name import unique_name

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["FitPreview"]

_NAME = "fit preview"
#: Maximum number of clusters in a fit.
_MOST = 64


class FitPreview:
    """A Labels layer with the current clusters, which is removed when the fit ends."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._labels: Labels | None = None

    def show(self, target: ImageOnLayer, shown: dict[str, Any]) -> None:
        """Show the clusters of a fit to an image."""
        cells = np.frombuffer(shown["preview"], np.uint8).reshape(shown["shape"])
        pixels, place = target.overlay.cells(cells, tuple(shown["index"]), shown["box"][:2], shown["stride"])
        if self._labels in self._viewer.layers and self._labels is not None:
            self._labels.data = pixels
            return
        active = self._viewer.layers.selection.active
        name = unique_name(self._viewer.layers, _NAME)
        colours = listed_colormap([class_colour(number) for number in range(1, _MOST + 1)])
        self._labels = Labels(pixels, name=name, colormap=colours, metadata={TOOL: True}, opacity=0.5, **place)
        self._viewer.add_layer(self._labels)
        self._viewer.layers.selection.active = active

    def drop(self) -> None:
        """Remove the layer."""
        if self._labels in self._viewer.layers:
            self._viewer.layers.remove(self._labels)
        self._labels = None

"""The Labels layer that shows clusters: it follows every change of them until a person paints in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.io.layer_files import RUN_PROVENANCE
from napari_foundseg.widgets.controls.colours import listed
from napari_foundseg.widgets.layers.overlay import Overlay
from napari_foundseg.widgets.layers.result_layers import add_labels, object_features

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image as ImageLayer
    from napari.layers import Labels
    from napari.utils.colormaps import CyclicLabelColormap

    from napari_foundseg.core.classes.class_table import ClassTable
    from napari_foundseg.core.image import Image
    from napari_foundseg.core.result import Segmentation

__all__ = ["ClusterLayer"]

#: How far the pointer may go in a click, in pixels of the screen.
_STILL = 4


class ClusterLayer(QObject):
    """The layer of the latest clusters. One that a person has painted in is theirs: then a new one is made.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    """

    #: A cluster was clicked: its number, and whether others stay selected.
    clicked = Signal(int, bool)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.labels: Labels | None = None
        self._image_layer: ImageLayer | None = None
        self._painted = self._writing = False

    def is_of(self, layer: ImageLayer | None) -> bool:
        """Tell whether the viewer shows clusters of an image.

        Parameters
        ----------
        layer : napari.layers.Image or None
            The image's layer.

        Returns
        -------
        bool
            False where their layer was removed.
        """
        return self.labels in self._viewer.layers and layer is self._image_layer

    def show(self, layer: ImageLayer, image: Image, found: Segmentation) -> None:
        """Show clusters of an image.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        image : Image
            The layer as an image.
        found : Segmentation
            The clusters.
        """
        if self.is_of(layer) and self.labels is not None and not self._painted:
            self._writing = True
            self.labels.data = Overlay(layer, image).expanded(found.labels)
            self.labels.features = object_features(found)
            self.labels.metadata = {**self.labels.metadata, RUN_PROVENANCE: dict(found.provenance)}
            self._writing = False
        else:
            self.forget()
            self._follow(add_labels(self._viewer, layer, image, found, f"{layer.name} clusters"), layer)
        assert self.labels is not None
        self.labels.colormap = _colours(found.classes)

    def forget(self) -> None:
        """Follow the layer no more; it stays as it is."""
        if self.labels is not None:
            self.labels.events.paint.disconnect(self._mark_painted)
            self.labels.events.labels_update.disconnect(self._mark_painted)
            self.labels.mouse_drag_callbacks.remove(self._drag)
            self.labels = None

    def _follow(self, labels: Labels, layer: ImageLayer) -> None:
        self.labels, self._image_layer, self._painted = labels, layer, False
        labels.mouse_drag_callbacks.append(self._drag)
        labels.events.paint.connect(self._mark_painted)
        labels.events.labels_update.connect(self._mark_painted)

    def _mark_painted(self, _event: Any = None) -> None:
        self._painted |= not self._writing

    def _drag(self, layer: Labels, event: Any) -> Iterator[None]:
        """Tell of a click that is no drag."""
        if layer.mode != "pan_zoom":
            return
        start = np.array(event.pos, float)
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.array(event.pos, float) - start).max() > _STILL:
            return
        value = layer.get_value(event.position, view_direction=event.view_direction,
                                dims_displayed=list(event.dims_displayed), world=True)  # fmt: skip
        if value:
            self.clicked.emit(int(value), "Control" in event.modifiers or "Shift" in event.modifiers)


def _colours(classes: ClassTable) -> CyclicLabelColormap:
    """Return each cluster's colour; numbers that are no cluster any more are transparent, as nothing has them."""
    by_number = {row.id: row.colour for row in classes}
    return listed([by_number.get(number, "transparent") for number in range(1, max(by_number) + 1)])

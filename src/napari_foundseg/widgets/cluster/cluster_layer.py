"""The Labels layer that shows clusters, updated with every change until the user paints in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.io.layer_files import RUN_PROVENANCE
from napari_foundseg.widgets.controls.colours import listed_colormap
from napari_foundseg.widgets.editing.kept_results import keep_result, rewriting
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.layers.result_layers import add_labels, object_features

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image as ImageLayer
    from napari.layers import Labels
    from napari.utils.colormaps import CyclicLabelColormap

    from napari_foundseg.core.classes.class_table import ClassTable
    from napari_foundseg.core.result import Segmentation
    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["ClusterLayer"]

#: Screen pixels by which the pointer may move during a click.
_STILL = 4


class ClusterLayer(QObject):
    """Shows the latest clusters. A layer in which the user has painted is kept, and a new one is added."""

    #: The user has clicked a cluster: its number, and whether other clusters stay selected.
    clicked = Signal(int, bool)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.labels: Labels | None = None
        self._image_layer: ImageLayer | None = None
        self._painted = self._writing = False

    def is_of(self, layer: ImageLayer | None) -> bool:
        """Tell whether the viewer shows clusters of an image layer."""
        return self.labels in self._viewer.layers and layer is self._image_layer

    def show(self, target: ImageOnLayer, found: Segmentation) -> None:
        """Show clusters of an image."""
        if self.is_of(target.layer) and self.labels is not None and not self._painted:
            self._writing = True
            with rewriting(self.labels):
                self.labels.data = target.overlay.expanded(found.labels)
                self.labels.features = object_features(found)
            self.labels.metadata = {**self.labels.metadata, RUN_PROVENANCE: dict(found.provenance)}
            self._writing = False
        else:
            self.forget()
            self._connect_layer(add_labels(self._viewer, target, found, f"{target.name} clusters"), target.layer)
            assert self.labels is not None
            keep_result(self.labels, target.image)
        assert self.labels is not None
        self.labels.colormap = _cluster_colormap(found.classes)

    def forget(self) -> None:
        """Disconnect from the layer, which stays in the viewer."""
        if self.labels is not None:
            self.labels.events.paint.disconnect(self)
            self.labels.events.labels_update.disconnect(self)
            self.labels.mouse_drag_callbacks.remove(self._on_drag)
            self.labels = None

    def _connect_layer(self, labels: Labels, layer: ImageLayer) -> None:
        self.labels = labels
        self._image_layer = layer
        self._painted = False
        labels.mouse_drag_callbacks.append(self._on_drag)
        labels.events.paint.connect(self._mark_painted)
        labels.events.labels_update.connect(self._mark_painted)

    def _mark_painted(self, event: Any) -> None:
        if not self._writing:
            self._painted = True
            layer_file(event.source).note_work()

    def _on_drag(self, layer: Labels, event: Any) -> Iterator[None]:
        """Emit `clicked` for a click that is not a drag."""
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


def _cluster_colormap(classes: ClassTable) -> CyclicLabelColormap:
    """Return a colormap of the clusters; numbers without a cluster are transparent."""
    by_number = {row.id: row.colour for row in classes}
    return listed_colormap([by_number.get(number, "transparent") for number in range(1, max(by_number) + 1)])

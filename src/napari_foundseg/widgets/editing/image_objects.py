"""The Labels layer that holds an image's objects: accepted masks are written into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from numpy.typing import NDArray

from napari_foundseg.widgets.editing.labels_history import LabelsHistory, shared_history
from napari_foundseg.widgets.layers.object_features import facts_to_features
from napari_foundseg.widgets.layers.unique_name import unique_name

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.core.editing.object_facts import Facts
    from napari_foundseg.core.image import Image
    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["ImageObjects", "assign_objects", "assigned_objects"]

_assigned: WeakKeyDictionary[ImageLayer, ReferenceType[Labels]] = WeakKeyDictionary()


def assign_objects(layer: ImageLayer, labels: Labels) -> None:
    """Use a Labels layer for the objects of an image, in all widgets."""
    _assigned[layer] = ref(labels)


def assigned_objects(layer: ImageLayer) -> Labels | None:
    """Return the Labels layer that was assigned to an image; None if there is none or it no longer exists."""
    return _assigned[layer]() if layer in _assigned else None


class ImageObjects:
    """The Labels layers for the objects of a viewer's images; found or created on demand."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._histories: dict[ImageLayer, LabelsHistory] = {}
        self._followed: WeakKeyDictionary[ImageLayer, ReferenceType[Labels] | None] = WeakKeyDictionary()
        #: Identifies the pixels to which the objects belong; lazy arrays by identity, since they do not change.
        self._contents: WeakKeyDictionary[ImageLayer, Any] = WeakKeyDictionary()
        viewer.layers.events.removed.connect(self._layer_removed)

    def of(self, target: ImageOnLayer) -> LabelsHistory | None:
        """Return the history of an image's objects.

        Return None if there are no objects yet, if their layer was removed or no longer fits, or if the pixels of the
        image have changed since the objects were accepted.
        """
        layer = target.layer
        shape = target.overlay.shape
        history = self._histories.get(layer)
        if (latest := _assigned.get(layer)) is not self._followed.get(layer):
            # Adopt it only once, so that a layer that the user chooses afterwards is kept.
            self._followed[layer] = latest
            if (labels := self._assigned_to(layer, shape)) is not None:
                return self.adopt(target, labels)
        if history is not None and history.layer in self._viewer.layers and history.layer.data.shape == shape:
            # The history is kept even if the pixels have changed, so that `swapped` can report it.
            return history if self._contents.get(layer) == _content_id(target.image) else None
        self._drop_history(layer)
        return None

    def swapped(self, target: ImageOnLayer) -> Labels | None:
        """Return the objects' layer if the pixels of the image have changed since; None if they have not."""
        history = self._histories.get(target.layer)
        same = history is None or self._contents.get(target.layer) == _content_id(target.image)
        return None if same or history is None else history.layer

    def add(self, target: ImageOnLayer, data: NDArray[Any] | None = None, known: Facts | None = None) -> LabelsHistory:
        """Add a layer of objects to an image; the active layer stays active.

        Parameters
        ----------
        data : ndarray of int, optional
            Initial objects, of the overlay's shape. If a layer is assigned to the image, they are written into it
            and no layer is added.
        known : mapping of int to mapping of str, optional
            Scores, review state and notes of these objects.
        """
        overlay = target.overlay
        if data is not None and (assigned := self._assigned_to(target.layer, overlay.shape)) is not None:
            history = self.adopt(target, assigned)
            history.write("recover", [(tuple(slice(0, n) for n in data.shape), data)], known)
            return history
        pixels = np.zeros(overlay.shape, np.uint16) if data is None else data
        name = unique_name(self._viewer.layers, "foundseg objects")
        labels = Labels(pixels, name=name, features=facts_to_features(known or {}), **overlay.transforms)
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(labels)
        if active is not None:
            # The tool in use stays active.
            self._viewer.layers.selection.active = active
        return self.adopt(target, labels)

    def adopt(self, target: ImageOnLayer, labels: Labels) -> LabelsHistory:
        """Write the accepted masks of an image into a Labels layer from now on.

        The layer must be in memory and have the overlay's shape.
        """
        layer = target.layer
        image = target.image
        self._drop_history(layer)
        history = shared_history(labels, image, (self, layer))
        history.journal.use_image(image)
        self._histories[layer] = history
        self._contents[layer] = _content_id(image)
        return history

    def forget(self, layer: ImageLayer) -> None:
        """Forget the layer of an image's objects, so that the next accepted mask goes into a new layer."""
        _assigned.pop(layer, None)
        self._followed.pop(layer, None)
        self._drop_history(layer)

    def release(self) -> None:
        """Disconnect from all layers."""
        self._viewer.layers.events.removed.disconnect(self)
        for layer in list(self._histories):
            self._drop_history(layer)

    def _assigned_to(self, layer: ImageLayer, shape: tuple[int, ...]) -> Labels | None:
        labels = assigned_objects(layer)
        fits = labels is not None and labels in self._viewer.layers and labels.data.shape == shape
        return labels if fits else None

    def _drop_history(self, layer: ImageLayer) -> None:
        if (old := self._histories.pop(layer, None)) is not None:
            old.leave((self, layer))

    def _layer_removed(self, event: Any) -> None:
        for layer, history in list(self._histories.items()):
            if event.value is history.layer:
                self._drop_history(layer)


def _content_id(image: Image) -> Any:
    pixels = image.levels[0]
    return image.identity() if isinstance(pixels, np.ndarray) else id(pixels)

"""The Labels layer of an image's objects: where accepted masks go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from numpy.typing import NDArray

from napari_foundseg.widgets.editing.labels_history import LabelsHistory, shared_history
from napari_foundseg.widgets.layers.object_features import features_of
from napari_foundseg.widgets.layers.overlay import Overlay
from napari_foundseg.widgets.layers.unique_name import unique_name

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.core.editing.object_facts import Facts
    from napari_foundseg.core.image import Image

__all__ = ["Objects", "assign_objects", "assigned_objects"]

_assigned: WeakKeyDictionary[ImageLayer, ReferenceType[Labels]] = WeakKeyDictionary()


def assign_objects(layer: ImageLayer, labels: Labels) -> None:
    """Have all widgets take a Labels layer for the objects of an image.

    Parameters
    ----------
    layer : napari.layers.Image
        The image's layer.
    labels : napari.layers.Labels
        Of the overlay's shape.
    """
    _assigned[layer] = ref(labels)


def assigned_objects(layer: ImageLayer) -> Labels | None:
    """Return the Labels layer that was assigned to an image.

    Parameters
    ----------
    layer : napari.layers.Image
        The image's layer.

    Returns
    -------
    napari.layers.Labels or None
        None where none was, or it is gone.
    """
    return _assigned[layer]() if layer in _assigned else None


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
        self._followed: WeakKeyDictionary[ImageLayer, ReferenceType[Labels] | None] = WeakKeyDictionary()
        #: Of which pixels the objects are; lazy arrays are compared as they are, since they do not change.
        self._contents: WeakKeyDictionary[ImageLayer, Any] = WeakKeyDictionary()
        viewer.layers.events.removed.connect(self._removed)

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
            None where there are none yet, their layer has left the viewer or does not fit any more, or the image has
            other pixels than those that the objects were accepted on.
        """
        history, shape = self._histories.get(layer), Overlay(layer, image).shape
        if (latest := _assigned.get(layer)) is not self._followed.get(layer):
            # Once: what a person chooses afterwards stays.
            self._followed[layer] = latest
            if (labels := self._assigned_to(layer, shape)) is not None:
                return self.adopt(layer, image, labels)
        if history is not None and history.layer in self._viewer.layers and history.layer.data.shape == shape:
            # Of other pixels, too, they are kept, so that a person can be told.
            return history if self._contents.get(layer) == _content(image) else None
        self._drop(layer)
        return None

    def swapped(self, layer: ImageLayer, image: Image) -> Labels | None:
        """Return the objects of the pixels that an image had before it got others.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        image : Image
            The layer as an image, as it is now.

        Returns
        -------
        napari.layers.Labels or None
            None where it has its pixels still, or no objects.
        """
        history = self._histories.get(layer)
        same = history is None or self._contents.get(layer) == _content(image)
        return None if same or history is None else history.layer

    def add(
        self, layer: ImageLayer, image: Image, data: NDArray[Any] | None = None, known: Facts | None = None
    ) -> LabelsHistory:
        """Add a layer of objects to an image; the person goes on with the tool in hand.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        image : Image
            The layer as an image.
        data : ndarray of int, optional
            Objects that are there already, of the overlay's shape; they go into the layer that was assigned to the
            image, where there is one.
        known : mapping of int to mapping of str, optional
            What is known of them.

        Returns
        -------
        LabelsHistory
            Of the layer.
        """
        overlay = Overlay(layer, image)
        if data is not None and (assigned := self._assigned_to(layer, overlay.shape)) is not None:
            history = self.adopt(layer, image, assigned)
            history.write("recover", [(tuple(slice(0, n) for n in data.shape), data)], known)
            return history
        pixels = np.zeros(overlay.shape, np.uint16) if data is None else data
        name = unique_name(self._viewer.layers, "foundseg objects")
        labels = Labels(pixels, name=name, features=features_of(known or {}), **overlay.transforms)
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(labels)
        if active is not None:
            # Adding a layer must not take the tool away.
            self._viewer.layers.selection.active = active
        return self.adopt(layer, image, labels)

    def adopt(self, layer: ImageLayer, image: Image, labels: Labels) -> LabelsHistory:
        """Let accepted masks of an image go into another Labels layer.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        image : Image
            The layer as an image.
        labels : napari.layers.Labels
            Of the overlay's shape, in memory.

        Returns
        -------
        LabelsHistory
            Of that layer.
        """
        self._drop(layer)
        self._histories[layer] = shared_history(labels, image)
        self._histories[layer].use_image(image)
        self._contents[layer] = _content(image)
        return self._histories[layer]

    def forget(self, layer: ImageLayer) -> None:
        """Have the next accepted mask begin a layer of its own.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        """
        _assigned.pop(layer, None)
        self._followed.pop(layer, None)
        self._drop(layer)

    def release(self) -> None:
        """Let go of all layers."""
        self._viewer.layers.events.removed.disconnect(self._removed)
        for layer in list(self._histories):
            self._drop(layer)

    def _assigned_to(self, layer: ImageLayer, shape: tuple[int, ...]) -> Labels | None:
        labels = assigned_objects(layer)
        fits = labels is not None and labels in self._viewer.layers and labels.data.shape == shape
        return labels if fits else None

    def _drop(self, layer: ImageLayer) -> None:
        if (old := self._histories.pop(layer, None)) is not None:
            old.leave()

    def _removed(self, event: Any) -> None:
        for layer, history in list(self._histories.items()):
            if event.value is history.layer:
                self._drop(layer)


def _content(image: Image) -> Any:
    pixels = image.levels[0]
    return image.fingerprint() if isinstance(pixels, np.ndarray) else id(pixels)

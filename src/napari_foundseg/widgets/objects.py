"""The Labels layer of an image's objects: where accepted masks go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from numpy.typing import NDArray

from napari_foundseg.core.difference import Box
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.labels import Overlap, add_mask
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.widgets.history import LabelsHistory, shared_history
from napari_foundseg.widgets.known import features_of, known_of
from napari_foundseg.widgets.overlay import Overlay
from napari_foundseg.widgets.results import unique_name

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.core.facts import Facts
    from napari_foundseg.core.image import Image

__all__ = ["Objects", "assign_objects", "assigned_objects", "commit", "refine"]

#: What a run knows of a mask, and not of another outline.
_OF_A_MASK = ("area", "y0", "x0", "y1", "x1")

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
        if history is not None and history.layer in self._viewer.layers:
            fits = history.layer.data.shape == shape
            if fits and self._contents.get(layer) == _content(image):
                return history
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


def commit(
    history: LabelsHistory, overlay: Overlay, masks: Sequence[Mask], overlap: Overlap, name: str = "accept"
) -> list[int]:
    """Write masks as new objects, with their scores, in one step.

    Parameters
    ----------
    history : LabelsHistory
        Of the layer to write into.
    overlay : Overlay
        Of the layer over its image.
    masks : sequence of Mask
        Of any slices.
    overlap : {'keep others', 'overwrite', 'fill free only'}
        Who has a pixel that both an object and a mask want.
    name : str
        Of the step.

    Returns
    -------
    list of int
        The new ids; a mask that is left without a pixel gets none.
    """
    first = history.free_id()
    known: dict[int, dict[str, Any]] = {}

    def pieces() -> Iterator[tuple[Box, NDArray[Any]]]:
        for mask in masks:
            label = first + len(known)
            box = overlay.box(mask)
            # A copy that holds any id; each mask sees what the ones before it have written.
            values = np.array(history.layer.data[box], np.uint64)
            if add_mask(overlay.plane(values, (0,) * len(mask.index)), mask.crop, label, overlap):
                known[label] = _scores(mask)
                yield box, values

    history.write(name, pieces(), known)
    return list(known)


def _scores(mask: Mask) -> dict[str, Any]:
    """Return what is known of the object that a mask becomes."""
    return {"predicted_iou": float(mask.predicted_iou), "stability_score": float(mask.stability_score)}


def refused(layer: Labels) -> str:
    """Say why a layer cannot be written.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer.

    Returns
    -------
    str
        What it is, such as ``locked``; empty where it can be.
    """
    data = layer.data
    if layer.multiscale:
        return "multiscale"
    if not isinstance(data, np.ndarray):
        return f"a {type(data).__name__}, which keeps no changes"
    if not data.flags.writeable:
        return "read-only in memory" if data.base is None else "a read-only view or memory-mapped file"
    if isinstance(data, np.memmap):
        return "a memory-mapped file, whose pixels would change on the disk"
    return "" if layer.editable else "set to be not editable"


def outline_of(
    history: LabelsHistory | None, overlay: Overlay, image: Image, prompts: Sequence[Prompt], label: int | None
) -> tuple[int, Prompt]:
    """Return a prompt for another outline of an accepted object: clicks, and the object as it is for a mask.

    Parameters
    ----------
    history : LabelsHistory or None
        Of the layer of objects.
    overlay : Overlay
        Of that layer over its image.
    image : Image
        The image.
    prompts : sequence of Prompt
        One, with a point.
    label : int or None
        The object; None for the one under the first point.

    Returns
    -------
    int
        The object.
    Prompt
        With its mask.

    Raises
    ------
    PromptError
        If it is not clear which object is meant.
    """
    if history is None:
        raise PromptError("There are no accepted objects to refine yet. Choose 'one new object' first.")
    if len(prompts) != 1 or not prompts[0].points:
        raise PromptError("To refine, click on one accepted object; shapes are for new objects.")
    index, flat = prompts[0].in_plane(image.shape, image.label_axes)
    plane = overlay.plane(np.asarray(history.layer.data), index)
    if label is None:
        label = int(plane[tuple(int(np.floor(c + 0.5)) for c in flat.points[0])])
    if not label:
        raise PromptError("There is no accepted object under the first point. Press Clear and click on one.")
    mask = plane == label
    if not mask.any():
        raise PromptError(f"Object {label} is not on this slice. Press Clear and click on one that is.")
    return label, Prompt(prompts[0].points, prompts[0].labels, mask=mask)


def refine(history: LabelsHistory, overlay: Overlay, mask: Mask, label: int, overlap: Overlap) -> bool:
    """Give an object another outline on one slice, in one step.

    Parameters
    ----------
    history : LabelsHistory
        Of the layer to write into.
    overlay : Overlay
        Of the layer over its image.
    mask : Mask
        The new outline.
    label : int
        The object.
    overlap : {'keep others', 'overwrite', 'fill free only'}
        Whether it may take pixels from other objects. What it gives up becomes background, but where only free pixels
        are filled it gives up none.

    Returns
    -------
    bool
        Whether a pixel changed.
    """
    plane = overlay.plane(history.layer.data, mask.index)
    rows, columns = np.nonzero(plane == label)
    y0, x0, y1, x1 = mask.box
    if len(rows):
        y0, x0 = min(y0, int(rows.min())), min(x0, int(columns.min()))
        y1, x1 = max(y1, int(rows.max())), max(x1, int(columns.max()))
    around = Mask((y0, x0, y1, x1), np.zeros((y1 - y0 + 1, x1 - x0 + 1), bool), index=mask.index)
    box = overlay.box(around)
    values = np.array(history.layer.data[box])
    region = overlay.plane(values, (0,) * len(mask.index))
    if overlap != "fill free only":
        region[region == label] = 0
    top, left = mask.box[0] - y0, mask.box[1] - x0
    inside = region[top : top + mask.crop.shape[0], left : left + mask.crop.shape[1]]
    if not add_mask(inside, mask.crop, label, overlap):
        return False
    kept = {k: v for k, v in known_of(history.layer, [label]).get(label, {}).items() if k not in _OF_A_MASK}
    return history.write("refine", [(box, values)], {label: kept | _scores(mask)})

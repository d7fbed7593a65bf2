"""The open image of a worklist: its files, its layers, and whether its labels are on the disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.editing.object_facts import Facts, facts_of_table, table_of_facts
from napari_foundseg.core.errors import OutputError, WorklistError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.io.formats.content import FileContent
from napari_foundseg.io.layer_files import RUN_PROVENANCE, holds_properties, properties_of, write_with_properties
from napari_foundseg.io.naming import image_exists, table_path
from napari_foundseg.io.readers import read_image, read_labels
from napari_foundseg.io.worklist import Item, Record, State, write_record
from napari_foundseg.widgets.editing.image_objects import assign_objects
from napari_foundseg.widgets.editing.labels_history import LabelsHistory, shared_history
from napari_foundseg.widgets.layers.layer_conversion import image_from_layer
from napari_foundseg.widgets.layers.object_features import features_of, known_of
from napari_foundseg.widgets.layers.overlay import Overlay, image_layer
from napari_foundseg.widgets.layers.unique_name import unique_name

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["Content", "OpenItem", "Saved", "read_content"]

#: What a person has set of one Labels layer and finds again at the next.
_CARRIED = ("brush_size", "contour", "opacity", "preserve_labels", "mode")


@dataclass(frozen=True, eq=False)
class Content:
    """What the files of an image hold.

    Parameters
    ----------
    image : Image
        The image.
    labels : ndarray of unsigned int
        Of the image's `shape`; zeros where there are none yet.
    known : dict of int to dict
        What the files know of the objects.
    digest : bytes
        Of the labels and of what is known.
    fingerprint : str
        Of the image.
    state : tuple
        Of the files when they were read.
    """

    image: Image
    labels: NDArray[np.unsignedinteger[Any]]
    known: Facts
    digest: bytes
    fingerprint: str
    state: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Saved:
    """What a saving did: the new record, and what it looked at."""

    record: Record
    digest: bytes
    revision: int


def read_content(item: Item, image: Image | None = None, ahead: Content | None = None) -> Content:
    """Read an image and its labels; slow, so not for the window's thread.

    Parameters
    ----------
    item : Item
        Which.
    image : Image, optional
        A layer as an image; the item's file by default.
    ahead : Content, optional
        What was read before, taken where the files have not changed since.

    Returns
    -------
    Content
        Image and labels.

    Raises
    ------
    FoundsegError
        If the image cannot be read, or the labels cannot be those of the image.
    """
    state = tuple(_state(path) for path in (item.path, item.labels, table_path(item.labels)))
    if ahead is not None and image is None and ahead.state == state:
        return ahead
    image = image or (read_image(str(item.path)) if item.read is None else item.read())
    there = image_exists(item.labels)
    labels = _read_labels(item.labels, image.shape) if there else np.zeros(image.shape, np.uint16)
    known = _read_known(item.labels) if there else {}
    return Content(image, labels, known, _digest(labels, known), image.fingerprint(), state)


class OpenItem(QObject):
    """Layers of an image and its labels, which are watched.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    item : Item
        Which image.
    content : Content
        What its files hold.
    layer : napari.layers.Image, optional
        The image's layer where a person has added it; a new one is added by default.
    like : OpenItem, optional
        The one that was open before, whose brush and mode the labels take.
    """

    #: The labels or their state have changed.
    changed = Signal()
    #: The layer of the labels was removed by something else.
    lost = Signal()

    def __init__(
        self,
        viewer: ViewerModel,
        item: Item,
        content: Content,
        layer: ImageLayer | None = None,
        like: OpenItem | None = None,
    ) -> None:
        super().__init__()
        self._viewer, self.item, self._fingerprint = viewer, item, content.fingerprint
        self.state: State = item.record.state
        #: When something was written last, in seconds since 1970.
        self.saved_at: float | None = None
        self._own: list[Any] = []
        if layer is None:
            layer = image_layer(content.image, unique_name(viewer.layers, Path(item.name).stem))
            self._own.append(viewer.add_layer(layer))
        self.layer, self.image = layer, image_from_layer(layer)
        overlay = Overlay(layer, self.image)
        name = unique_name(viewer.layers, f"{layer.name} labels")
        features = features_of(content.known)
        labels = Labels(overlay.expanded(content.labels), name=name, features=features, **overlay.transforms)
        #: Of the pixels that are on the disk; None where they are not those of the layer.
        self._digest: bytes | None = content.digest
        self._revision = self._saved_revision = 0
        self._add(labels)
        self._own.append(labels)
        self._watch(labels)
        if like is not None:
            for name in _CARRIED:
                setattr(labels, name, getattr(like.labels, name))
        viewer.layers.events.removed.connect(self._removed)

    labels: Labels
    history: LabelsHistory

    @property
    def unsaved(self) -> bool:
        """Whether a change is known that is not in the file."""
        return self._digest is None or self._revision != self._saved_revision

    @property
    def layers(self) -> list[Any]:
        """The layers of this item that are in the viewer and are taken away with it."""
        return [layer for layer in self._own if layer in self._viewer.layers]

    def mark(self, state: State) -> None:
        """Set how far the image is.

        Parameters
        ----------
        state : {'new', 'automatic', 'in work', 'done'}
            By the person's word.
        """
        self.state = state
        self._revision += 1
        self.changed.emit()

    def saving(self) -> Callable[[], Saved]:
        """Return the work that brings the labels and their state to the disk; slow, so not for the window's thread.

        Returns
        -------
        callable
            Writes only what has changed, whoever changed it; returns a `Saved`, or raises OutputError.
        """
        array, known, revision = self.labels.data, self._digest, self._revision
        item, state, image, fingerprint = self.item, self.state, self.image, self._fingerprint
        shape, facts = Overlay(self.layer, image).shape, known_of(self.labels)

        def save() -> Saved:
            pixels = in_memory(array)
            if pixels.shape != shape:
                raise OutputError(
                    f"{str(item.labels)!r} was not written: the labels have the shape {pixels.shape} now, the image "
                    f"{shape}. Undo what changed it, or save the layer with File > Save Selected Layers and remove it."
                )
            digest, record = _digest(pixels, facts), item.record
            wanted = state == "done" or pixels.any()
            if digest != known or (wanted and not image_exists(item.labels)):
                ids = np.unique(pixels)
                now: State = "in work" if state == "new" else state
                record = Record(item.labels.name, now, int((ids > 0).sum()), fingerprint)
                content = FileContent(
                    pixels.reshape(image.shape), image.label_axes, dict(image.spacing), dict(image.units)
                )
                content.properties = table_of_facts(facts, "label") if facts else None
                write_with_properties(item.labels, content)
            record = replace(record, state=record.state if state == "new" else state)
            if record != item.record:
                write_record(item.labels.parent, item.name, record)
            return Saved(record, digest, revision)

        return save

    def keep(self, saved: Saved) -> None:
        """Take note of what was saved.

        Parameters
        ----------
        saved : Saved
            What the saving returned.
        """
        if saved.record != self.item.record or saved.digest != self._digest:
            self.saved_at = time.time()
        self.item = replace(self.item, record=saved.record)
        self._digest, self._saved_revision = saved.digest, saved.revision
        if not self.unsaved:
            self.state = saved.record.state

    def move_labels(self, item: Item) -> None:
        """Save elsewhere from now on.

        Parameters
        ----------
        item : Item
            The same image with another labels file.

        Raises
        ------
        WorklistError
            If there are labels already.
        """
        if item.labels == self.item.labels:
            return
        if image_exists(item.labels):
            raise WorklistError(
                f"{str(item.labels)!r} is there already and would be replaced by the open labels. Choose another "
                "folder, or open another image first."
            )
        self.item = item
        if self.labels.data.any():
            self._digest = None

    def adopt(self, labels: Labels) -> None:
        """Make another layer the labels of this image, such as the masks of a run.

        Parameters
        ----------
        labels : napari.layers.Labels
            In the viewer.

        Raises
        ------
        WorklistError
            If it does not fit the image, or the image has labels that a person has worked on.
        """
        if labels is self.labels:
            raise WorklistError(f"{labels.name!r} holds the labels of this image already.")
        fits = not labels.multiscale and isinstance(labels.data, np.ndarray)
        if not fits or labels.data.shape != self.labels.data.shape:
            raise WorklistError(
                f"{labels.name!r} does not fit: labels of {self.layer.name!r} are an array in memory of the shape "
                f"{self.labels.data.shape}. Select another Labels layer."
            )
        if self.state not in ("new", "automatic") and self.labels.data.any():
            raise WorklistError(
                f"{self.labels.name!r} holds work that would be lost. Delete its objects first if you want others."
            )
        old = self.labels
        self._unwatch()
        self._own.remove(old)
        self._watch(labels)
        self._own.append(labels)
        self._viewer.layers.remove(old)
        self._digest = None
        by_run = RUN_PROVENANCE in labels.metadata and self.history.undo_name is None
        self.mark("automatic" if by_run else "in work")

    def waiting_masks(self) -> list[Labels]:
        """Return the layers that runs have made of this image while it has no labels of its own.

        Returns
        -------
        list of napari.layers.Labels
            Whose masks would be left behind.
        """
        if self.state != "new":
            return []
        found = [la for la in self._viewer.layers if isinstance(la, Labels) and RUN_PROVENANCE in la.metadata]
        return [la for la in found if la is not self.labels and la.data.shape == self.labels.data.shape]

    def restore(self) -> None:
        """Add the layer of the labels again where something has removed it."""
        if self.labels not in self._viewer.layers:
            self._add(self.labels)

    def close(self, *, remove: bool) -> None:
        """Let go of the layers.

        Parameters
        ----------
        remove : bool
            Whether to take them out of the viewer; those that a person has added stay.
        """
        self._viewer.layers.events.removed.disconnect(self._removed)
        layers = self.layers if remove else []
        self._unwatch()
        for layer in reversed(layers):
            self._viewer.layers.remove(layer)

    def _add(self, labels: Labels) -> None:
        """Add the labels; a tool that works on the image, such as the points of a prompt, stays in hand."""
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(labels)
        if active is not None and active is not self.layer and not isinstance(active, ImageLayer | Labels):
            self._viewer.layers.selection.active = active

    def _watch(self, labels: Labels) -> None:
        self.labels, self.history = labels, shared_history(labels, self.image)
        self.history.stepped.connect(self._stepped)
        assign_objects(self.layer, labels)

    def _unwatch(self) -> None:
        self.history.stepped.disconnect(self._stepped)
        self.history.leave()

    def _stepped(self, _step: Any) -> None:
        self.mark("in work")

    def _removed(self, event: Any) -> None:
        if event.value is self.labels:
            self.lost.emit()


def _digest(pixels: NDArray[Any], known: Facts) -> bytes:
    digest = blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
    digest.update(json.dumps(sorted((i, sorted(facts.items())) for i, facts in known.items())).encode())
    return digest.digest()


def _state(path: Path | None) -> tuple[Any, ...]:
    """Return what tells a file from another, and from itself after a change."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        found = None
    return (path, None) if found is None else (path, found.st_mtime_ns, found.st_size)


def _read_labels(path: Path, shape: tuple[int, ...]) -> NDArray[np.unsignedinteger[Any]]:
    """Read ids of objects, which must be those of an image of this shape."""
    found = read_image(path)
    pixels = np.asarray(found.levels[0])
    if pixels.dtype.kind not in "bui" or pixels.min(initial=0) < 0:
        raise WorklistError(
            f"{str(path)!r} holds {pixels.dtype} values, not the ids of objects. Rename it to begin anew, or choose "
            "another folder for the labels."
        )
    if tuple(n for n in pixels.shape if n > 1) != tuple(n for n in shape if n > 1):
        raise WorklistError(
            f"{str(path)!r} has the shape {pixels.shape}, its image {shape}: they do not belong together. Rename it to "
            "begin anew, or choose another folder for the labels."
        )
    # A copy, since what the file gives may be read-only.
    return np.array(pixels, label_dtype(int(pixels.max(initial=0)))).reshape(shape)


def _read_known(path: Path) -> Facts:
    inside = read_labels(path) if holds_properties(path) else None
    table = properties_of(path, inside)
    return {} if table is None else facts_of_table(table, "label")

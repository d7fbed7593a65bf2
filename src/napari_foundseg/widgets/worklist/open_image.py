"""The open image of a worklist: its files, its layers, and saving its labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.editing.object_facts import table_of_facts
from napari_foundseg.core.errors import OutputError, WorklistError
from napari_foundseg.io.files.object_cells import measured_properties
from napari_foundseg.io.files.save_lock import save_lock
from napari_foundseg.io.formats.content import FileContent
from napari_foundseg.io.layer_files import (
    RUN_PROVENANCE,
    files_of_labels,
    write_with_properties,
)
from napari_foundseg.io.naming import flat_name, image_exists
from napari_foundseg.io.worklist import Record, WorklistItem, WorkState, read_records, write_record
from napari_foundseg.widgets.editing.image_objects import assign_objects
from napari_foundseg.widgets.editing.label_saving import mark_saved, mark_unwanted
from napari_foundseg.widgets.editing.labels_history import LabelsHistory, shared_history
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_conversion import image_from_layer
from napari_foundseg.widgets.layers.object_features import INDEX, facts_to_features, indexed_features, read_facts
from napari_foundseg.widgets.layers.overlay import image_layer
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.worklist.image_content import Content, digest_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["OpenImage", "Saved"]

#: Attributes of the Labels layer that are copied to that of the next image.
_CARRIED = ("brush_size", "contour", "opacity", "preserve_labels", "mode")


@dataclass(frozen=True, eq=False)
class Saved:
    """The outcome of saving: the new record, and the state that was saved."""

    record: Record
    digest: bytes
    revision: int
    #: A message for the user; empty if there is none.
    words: str = ""


class OpenImage(QObject):
    """The layers of an image and its labels, and their unsaved changes.

    Parameters
    ----------
    layer : napari.layers.Image, optional
        The image's layer if the user has added it; by default, a new one is added.
    like : OpenImage, optional
        The previous image, from which brush and mode are copied.
    """

    #: The labels or their state have changed.
    changed = Signal()
    #: The user has removed the Labels layer.
    lost = Signal()

    def __init__(
        self,
        viewer: ViewerModel,
        item: WorklistItem,
        content: Content,
        layer: ImageLayer | None = None,
        like: OpenImage | None = None,
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self.item = item
        self._fingerprint = content.fingerprint
        self.state: WorkState = item.record.state
        #: Time of the last save, in seconds since 1970.
        self.saved_at: float | None = None
        self._own: list[Any] = []
        if layer is None:
            layer = image_layer(content.image, unique_name(viewer.layers, Path(flat_name(item.name)).stem))
            self._own.append(viewer.add_layer(layer))
        self.target = ImageOnLayer(layer, image_from_layer(layer))
        overlay = self.target.overlay
        name = unique_name(viewer.layers, f"{layer.name} labels")
        features = facts_to_features(content.known)
        labels = Labels(overlay.expanded(content.labels), name=name, features=features, **overlay.transforms)
        #: Digest of the saved labels; None if those in the layer were never saved to this file.
        self._digest: bytes | None = content.digest
        self._revision = self._saved_revision = 0
        #: The revision that was saved in another file, since another program has written the image's labels.
        self._left: int | None = None
        self._add_labels_layer(labels)
        self._own.append(labels)
        self._connect_labels(labels)
        layer_file(labels).known.take(content.files)
        if like is not None:
            for name in _CARRIED:
                setattr(labels, name, getattr(like.labels, name))
        viewer.layers.events.removed.connect(self._on_removed)

    labels: Labels
    history: LabelsHistory

    @property
    def layer(self) -> Any:
        """The image's layer."""
        return self.target.layer

    @property
    def unsaved(self) -> bool:
        """Whether there are changes that are not in the file."""
        return self._digest is None or self._revision != self._saved_revision

    @property
    def layers(self) -> list[Any]:
        """The layers in the viewer that are removed when this image is closed."""
        return [layer for layer in self._own if layer in self._viewer.layers]

    def mark(self, state: WorkState) -> None:
        """Set the state of the image, such as done."""
        self.state = state
        self._revision += 1
        self.changed.emit()

    def saving(self, *, replace_file: bool = False) -> Callable[[], Saved]:
        """Return a function that saves changed labels and their state; slow, so not for the window's thread.

        The function raises a ChangedError if another program has written the labels since they were opened, unless
        `replace_file`.
        """
        array = self.labels.data
        known = self._digest
        left = self._left
        revision = self._revision
        item = self.item
        state = self.state
        image = self.target.image
        fingerprint = self._fingerprint
        shape = self.target.overlay.shape
        facts = read_facts(self.labels)
        # Columns that are empty for all objects are included, since all were edited.
        columns = ["label", *(name for name in indexed_features(self.labels) if name != INDEX)]
        files = layer_file(self.labels).known
        own = files_of_labels(item.labels)

        def save() -> Saved:
            if left == revision:
                return Saved(item.record, known or b"", revision)
            pixels = in_memory(array)
            if pixels.shape != shape:
                raise OutputError(
                    f"{str(item.labels)!r} was not written: the labels have the shape {pixels.shape} now, the image "
                    f"{shape}. Undo what changed it, or save the layer with File > Save Selected Layers and remove it."
                )
            digest = digest_of(pixels, facts)
            with save_lock(item.labels.parent):
                return write(pixels, digest)

        def write(pixels: NDArray[Any], digest: bytes) -> Saved:
            record = item.record
            wanted = state == "done" or pixels.any()
            words = ""
            if digest != known or (wanted and not image_exists(item.labels)):
                if not replace_file:
                    files.refuse_changed(*own)
                ids = np.unique(pixels)
                now: WorkState = "in work" if state == "new" else state
                record = Record(item.labels.name, now, int((ids > 0).sum()), fingerprint)
                content = FileContent(
                    pixels.reshape(image.shape), image.label_axes, dict(image.spacing), dict(image.units)
                )
                content.properties = None if not facts else table_of_facts(facts, "label").reindex(columns=columns)
                content.properties = measured_properties(content, image)
                write_with_properties(item.labels, content, replace=replace_file)
                files.note(*own)
            elif state != record.state and (words := files.changed(*own)):
                # Nothing was edited here, so the other program's labels and record stay.
                words += " Open the image again to see it."
                record = read_records(item.labels.parent).get(item.name, record)
            record = replace(record, state=record.state if state == "new" else state)
            if record != item.record:
                write_record(item.labels.parent, item.name, record)
            return Saved(record, digest, revision, words)

        return save

    def leave_to_others(self) -> None:
        """Count the changes as saved in another file, since the image's own file has another program's changes."""
        self._saved_revision = self._left = self._revision
        # The digest of no file, so that the user is asked again about the next change.
        self._digest = b""

    def keep(self, saved: Saved) -> None:
        """Record the outcome of saving."""
        if saved.record != self.item.record or saved.digest != self._digest:
            self.saved_at = time.time()
        self.item = replace(self.item, record=saved.record)
        self._digest = saved.digest
        self._saved_revision = saved.revision
        if self.unsaved:
            return
        self.state = saved.record.state
        if image_exists(self.item.labels):
            mark_saved(self.labels, self.item.labels)
        else:
            mark_unwanted(self.labels)

    def move_labels(self, item: WorklistItem) -> None:
        """Save to another file from now on.

        Raises
        ------
        WorklistError
            If the file already exists.
        """
        if item.labels == self.item.labels:
            return
        if image_exists(item.labels):
            raise WorklistError(
                f"{str(item.labels)!r} already exists and would be replaced by the open labels. Choose another "
                "folder, or open another image first."
            )
        self.item = item
        layer_file(self.labels).known.note(*files_of_labels(item.labels))
        if self.labels.data.any():
            self._digest = None

    def adopt(self, labels: Labels) -> None:
        """Use another layer as the labels of this image, such as the masks of a run.

        Raises
        ------
        WorklistError
            If it does not fit the image, or if the image has labels that the user has edited.
        """
        if labels is self.labels:
            raise WorklistError(f"{labels.name!r} already holds the labels of this image.")
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
        layer_file(labels).known.take(layer_file(old).known)
        self._disconnect_labels()
        self._own.remove(old)
        self._connect_labels(labels)
        self._own.append(labels)
        self._viewer.layers.remove(old)
        self._digest = None
        by_run = RUN_PROVENANCE in labels.metadata and self.history.undo_name is None
        self.mark("automatic" if by_run else "in work")

    def waiting_masks(self) -> list[Labels]:
        """Return layers of runs that would be lost, since the image has no labels of its own."""
        if self.state != "new":
            return []
        found = [la for la in self._viewer.layers if isinstance(la, Labels) and RUN_PROVENANCE in la.metadata]
        return [la for la in found if la is not self.labels and la.data.shape == self.labels.data.shape]

    def restore(self) -> None:
        """Add the Labels layer again if it was removed."""
        if self.labels not in self._viewer.layers:
            self._add_labels_layer(self.labels)

    def close(self, *, remove: bool) -> None:
        """Disconnect from the layers; with `remove`, remove those that the user has not added."""
        self._viewer.layers.events.removed.disconnect(self)
        layers = self.layers if remove else []
        self._disconnect_labels()
        for layer in reversed(layers):
            self._viewer.layers.remove(layer)

    def _add_labels_layer(self, labels: Labels) -> None:
        """Add the labels; an active layer of another type, such as prompt points, stays active."""
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(labels)
        if active is not None and active is not self.layer and not isinstance(active, ImageLayer | Labels):
            self._viewer.layers.selection.active = active

    def _connect_labels(self, labels: Labels) -> None:
        self.labels = labels
        self.history = shared_history(labels, self.target.image, self)
        self.history.stepped.connect(self._on_step)
        assign_objects(self.layer, labels)

    def _disconnect_labels(self) -> None:
        self.history.stepped.disconnect(self._on_step)
        self.history.leave(self)

    def _on_step(self, _step: Any) -> None:
        self.mark("in work")

    def _on_removed(self, event: Any) -> None:
        if event.value is self.labels:
            self.lost.emit()

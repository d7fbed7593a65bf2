"""The recovery journal of a Labels layer."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.editing.object_facts import facts_of_table
from napari_foundseg.io.journal import Header, Journal, end_journal, journal_folder
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.layers.object_features import INDEX, indexed_features

if TYPE_CHECKING:
    from napari_foundseg.core.editing.history import EditStep
    from napari_foundseg.core.image import Image

__all__ = ["LabelsJournal"]

#: Bytes of steps that may wait for space on the disk; beyond that, the whole labels are written again later.
_MOST_WAITING = 64 << 20
#: Milliseconds between a form's last change of its result and writing the result again.
_QUIET = 1000


class LabelsJournal(QObject):
    """The record on the disk of a layer's labels and of every step that changes them, so that a crash loses nothing.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer; its data must be a NumPy array.
    image : Image or None
        The image to which the labels belong; without one they are offered for recovery as a separate layer.
    """

    #: All changes are on the disk; the time of writing, in seconds since 1970.
    saved = Signal(float)
    #: The changes could not be written; the reason.
    failed = Signal(str)

    def __init__(self, layer: Labels, image: Image | None) -> None:
        super().__init__()
        self._layer = layer
        self._image = image
        self._journal: Journal | None = None
        self._quiet = QTimer(self)
        self._quiet.setSingleShot(True)
        self._quiet.setInterval(_QUIET)
        self._quiet.timeout.connect(self.begin_again)
        self._file = layer_file(layer)
        self._file.image = image or self._file.image
        self._replaced: list[Path | Journal] = []
        self.saved.connect(self._file.note_kept)
        self.saved.connect(self._end_replaced)
        self.failed.connect(self._file.note_failed)
        self.failed.connect(self._lighten)

    @property
    def is_open(self) -> bool:
        """Whether changes of the labels are being written into the journal."""
        return self._journal is not None

    def open(self, instead: Journal | None = None) -> None:
        """Begin a journal with the current labels; do nothing if it is already open.

        `instead` is an abandoned journal, which ends as soon as the new one is on the disk.
        """
        if self._journal is not None:
            return
        layer = self._layer
        data = layer.data
        image = self._image
        name = layer.name
        place = _place(layer)

        def header() -> Header:
            owner: tuple[str, str | None] = ("", None)
            if image is not None:
                # The file of a lazy image may have been deleted; the labels are written anyway.
                with suppress(Exception):
                    owner = image.identity(), image.source
            return Header.now(owner[0], name, data.shape, owner[1], place)

        self._journal = Journal(journal_folder(), header, self.saved.emit, self._report_failure)
        table = indexed_features(layer)
        self._journal.add_all(data, lambda: facts_of_table(table, INDEX))
        if (before := instead or self._file.journal) is not None:
            self.replace(before)
        layer.events.name.connect(self._follow_name)

    def replace(self, before: Path | Journal) -> None:
        """End an earlier journal with the same labels as soon as this one is on the disk."""
        self._replaced.append(before)

    def _end_replaced(self, _when: float) -> None:
        # This is a permanent slot: a slot that disconnects itself while it runs can crash the process.
        while self._replaced:
            before = self._replaced.pop()
            path = before.file_path if isinstance(before, Journal) else before
            if path is not None:
                with suppress(OSError):  # it may have been deleted in the meantime
                    end_journal(path)
            if self._file.journal == path:
                self._file.journal = None

    def add(self, step: EditStep) -> None:
        """Write a step; the journal must be open."""
        assert self._journal is not None
        self._journal.add(step)

    def mark_saved(self) -> None:
        """Note that the current labels are saved in a file."""
        if self._journal is not None:
            self._journal.mark_saved()

    def mark_discarded(self) -> None:
        """Note that the user does not want the current labels."""
        if self._journal is not None:
            self._journal.mark_discarded()

    def begin_soon(self) -> None:
        """Write the labels again once a form has stopped changing them, because its changes are not steps."""
        if self._journal is not None:
            self._quiet.start()

    def begin_again(self) -> None:
        """Write the current labels into a new file; they include all changes that were not yet written."""
        if self._journal is not None:
            self._layer.events.name.disconnect(self)
            self._quiet.stop()
            journal = self._journal
            self._journal = None
            journal.abandon()
            # So that it is not offered for recovery meanwhile.
            self._file.journal = journal.file_path
            self.open(journal)

    def use_image(self, image: Image) -> None:
        """Set the image to which the labels belong; begin a new journal if its pixels differ from the last one's."""
        before = self._image
        self._image = self._file.image = image
        if self._journal is None or before is None or before.describes_as(image):
            return
        if before.identity() != image.identity():
            self.close()
            self.open()

    def close(self) -> None:
        """Write all remaining changes and close; labels that are not in a file are offered for recovery."""
        if self._journal is None:
            return
        if self._quiet.isActive():
            self.begin_again()
        self._layer.events.name.disconnect(self)
        journal = self._journal
        self._journal = None
        unsaved = self._file.is_unsaved()
        if not journal.close(unsaved=unsaved) and unsaved:
            self._file.note_failed()
            show_warning(
                f"{self._layer.name!r} could not be kept for recovery in {journal_folder()}. While napari is open, it "
                "is tried again for some minutes."
            )
        self._file.journal = journal.file_path if unsaved else None

    def _follow_name(self, _event: Any = None) -> None:
        if self._journal is not None:
            self._journal.rename(self._layer.name)

    def _report_failure(self, error: Exception) -> None:
        if isinstance(error, OSError):
            self.failed.emit(f"{error.strerror or error}: {error.filename or journal_folder()}")
        else:
            self.failed.emit("there is not enough memory" if isinstance(error, MemoryError) else repr(error))

    def _lighten(self, _reason: str) -> None:
        """Begin a new journal file if a step is missing or too many bytes are waiting."""
        journal = self._journal
        if journal is not None and (journal.incomplete or journal.waiting_bytes > _MOST_WAITING):
            self.begin_again()


def _place(layer: Labels) -> dict[str, Any]:
    """Return the transforms, units and axis labels of a layer as values that JSON can hold."""
    place = {name: np.asarray(getattr(layer, name), float).tolist() for name in ("scale", "translate", "rotate")}
    return place | {"units": [str(unit) for unit in layer.units], "axis_labels": list(layer.axis_labels)}

"""The recovery journal of a Labels layer."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from napari.layers import Labels
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.io.journal import Header, Journal, journal_folder
from napari_foundseg.widgets.layers.object_features import read_facts

if TYPE_CHECKING:
    from napari_foundseg.core.editing.history import EditStep
    from napari_foundseg.core.image import Image

__all__ = ["LabelsJournal"]


class LabelsJournal(QObject):
    """Saves the labels of a layer and each step that changes them, so that a crash loses nothing.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer; its data are a NumPy array.
    image : Image or None
        The image that the labels belong to; without one the journal is not offered for recovery.
    """

    #: All changes are on the disk; the time in seconds since 1970.
    saved = Signal(float)
    #: The changes could not be saved; the reason.
    failed = Signal(str)

    def __init__(self, layer: Labels, image: Image | None) -> None:
        super().__init__()
        self._layer = layer
        self._image = image
        self._journal: Journal | None = None

    @property
    def is_open(self) -> bool:
        """Whether the labels are being saved."""
        return self._journal is not None

    def open(self) -> None:
        """Save the present labels, unless the journal is open."""
        if self._journal is not None:
            return
        data = self._layer.data
        image = self._image
        name = self._layer.name

        def header() -> Header:
            owner: tuple[str, str | None] = ("no image", None)
            if image is not None:
                # A lazy image may have been deleted; the labels are saved all the same.
                with suppress(Exception):
                    owner = image.identity(), image.source
            return Header.now(owner[0], name, data.shape, owner[1])

        self._journal = Journal(journal_folder(), header, self.saved.emit, self._report_failure)
        features = read_facts(self._layer)
        if features or data.any():
            self._journal.add_all(data.copy(), features)

    def add(self, step: EditStep) -> None:
        """Save a step; the journal is open."""
        assert self._journal is not None
        self._journal.add(step)

    def use_image(self, image: Image) -> None:
        """Set the image that the labels belong to; an image with other pixels gets a new journal."""
        before = self._image
        self._image = image
        if self._journal is None or before is None or before.describes_as(image):
            return
        if before.identity() != image.identity():
            self.close()
            self.open()

    def close(self) -> None:
        """Write what is left, and mark the journal as complete."""
        if self._journal is not None:
            journal = self._journal
            self._journal = None
            journal.close()

    def _report_failure(self, error: OSError) -> None:
        self.failed.emit(f"{error.strerror or error}: {error.filename or journal_folder()}")

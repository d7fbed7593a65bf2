"""Where the labels of a layer are: in which file, kept for recovery, or in memory only."""

from __future__ import annotations

import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.io.files.known_files import KnownFiles
from napari_foundseg.io.journal import discard_journal, end_journal
from napari_foundseg.io.layer_files import files_of_labels, opened_files
from napari_foundseg.io.naming import image_exists
from napari_foundseg.widgets.layers.object_features import read_facts
from napari_foundseg.widgets.layers.proxies import open_viewers, unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_foundseg.core.image import Image

__all__ = ["LayerFile", "journals_of_open_layers", "layer_file", "unsaved_layers"]

_files: WeakKeyDictionary[Labels, LayerFile] = WeakKeyDictionary()


def layer_file(layer: Labels) -> LayerFile:
    """Return where the labels of a layer are; there is one of it for each layer."""
    layer = unwrapped(layer)
    if layer not in _files:
        _files[layer] = LayerFile(layer)
    return _files[layer]


def unsaved_layers(layers: Iterable[Any]) -> list[Labels]:
    """Return the layers that hold work which is in no file."""
    return [layer for layer in layers if layer in _files and _files[layer].is_unsaved()]


def journals_of_open_layers() -> set[Path]:
    """Return the journals whose layers are still in a viewer of this process, so that nothing is lost yet."""
    shown = {layer for viewer in open_viewers() for layer in viewer.layers if layer in _files}
    return {path for layer in shown if (path := _files[layer].journal) is not None}


class LayerFile(QObject):
    """Which file holds the labels of a layer, until they are edited again.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer, which may have been opened from a file.
    """

    #: The labels were edited, saved, or kept for recovery.
    changed = Signal()

    def __init__(self, layer: Labels) -> None:
        super().__init__()
        self._layer = ref(layer)
        #: The file that the labels were saved in or opened from last.
        self.path: Path | None = None if layer.source.path is None else Path(layer.source.path)
        #: What that file, and others that the labels were in, held then.
        self.known = KnownFiles()
        opened = opened_files(layer.data)
        if opened is not None:
            self.known.take(opened)
        elif self.path is not None and self.path.is_file():
            self.known.note(*files_of_labels(self.path))
        #: The image that they belong to.
        self.image: Image | None = None
        #: The journal that was closed while the labels were in no file.
        self.journal: Path | None = None
        self._saved_at: float | None = None
        self._kept_at: float | None = None
        self._failed = False
        self._lost = ""
        self._work = False
        self._edited = False
        #: Whether the labels are a result that the user has not edited.
        self.untouched = False
        self._checksum: int | None = None
        #: Number of edits so far, by which one tells whether there was one in the meantime.
        self.edits = 0

    def note_work(self) -> None:
        """Note that the labels have changed."""
        self._work = self._edited = True
        self.untouched = False
        self.edits += 1
        self.changed.emit()

    def note_result(self, image: Image | None) -> None:
        """Note that the labels are a new result of an image, not saved yet."""
        untouched = self.untouched or not self._work
        self.image = image
        self.note_work()
        self.untouched = untouched

    def note_kept(self, when: float) -> None:
        """Note that all edits are in the journal since this time, in seconds since 1970."""
        self._kept_at = when
        self._failed = False
        self.changed.emit()

    def note_failed(self, _reason: str = "") -> None:
        """Note that the latest edits could not be written into the journal."""
        self._failed = True
        self.changed.emit()

    def note_saved(self, path: Path, edits: int | None = None, lost: str = "") -> None:
        """Note that the labels are in a file.

        `edits`: how many there were when they were copied for it; all by default.
        `lost`: what the file does not keep of the layer, in words.
        """
        self.path = path
        self._lost = lost
        self._saved_at = time.time()
        self._edited = edits not in (None, self.edits)
        layer = self._layer()
        self._checksum = None if layer is None or self._edited else _checksum(layer)
        self.changed.emit()

    def note_unwanted(self) -> None:
        """Note that the user wants neither a file nor an offer to recover the labels."""
        self._work = self._edited = False
        self.changed.emit()

    def end_journal(self, *, unwanted: bool = False) -> None:
        """Offer the closed journal no more: its labels are in a file, or not wanted."""
        if self.journal is not None:
            with suppress(OSError):  # it may have been deleted in the meantime
                (discard_journal if unwanted else end_journal)(self.journal)
            self.journal = None

    def discard_if_removed(self) -> None:
        """Do not offer a result that the user has removed from an open viewer without having edited it."""
        layer = self._layer()
        here = layer is None or not any(layer in viewer.layers for viewer in open_viewers())
        if self.untouched and here and open_viewers():
            self.end_journal(unwanted=True)

    def look_again(self) -> None:
        """Find out whether something has edited saved labels while nothing of this package followed the layer."""
        layer = self._layer()
        if layer is not None and not self._edited and self._checksum not in (None, _checksum(layer)):
            self._work = self._edited = True

    def is_unsaved(self) -> bool:
        """Tell whether the layer holds work that is in no file."""
        self.look_again()
        return self._work and not self._in_file()

    def in_words(self) -> str:
        """Return where the labels are, such as ``kept for recovery 15:26, not saved yet``."""
        path = self.path
        saved = "" if path is None or self._saved_at is None else f"saved in {path.name} {_clock(self._saved_at)}"
        if self._in_file():
            return f"{saved}, without {self._lost}" if saved and self._lost else saved
        if not self._work:
            return ""
        if path is None:
            file = "not saved yet"
        elif not image_exists(path):
            file = f"no longer in a file ({path.name} is gone)"
        else:
            file = f"changed since {saved}" if saved else f"not saved in {path.name} yet"
        if self._failed:
            return f"not kept for recovery, {file}"
        return file if self._kept_at is None else f"kept for recovery {_clock(self._kept_at)}, {file}"

    def _in_file(self) -> bool:
        return self.path is not None and not self._edited and image_exists(self.path)


def _clock(when: float) -> str:
    return time.strftime("%H:%M", time.localtime(when))


def _checksum(layer: Labels) -> int | None:
    """Return a checksum of the labels and what is known of their objects; None where they are not in memory."""
    if layer.multiscale or not isinstance(layer.data, np.ndarray):
        return None
    facts = repr(sorted(read_facts(layer).items())).encode()
    return zlib.crc32(facts, zlib.crc32(np.ascontiguousarray(layer.data).view(np.uint8).reshape(-1).data))

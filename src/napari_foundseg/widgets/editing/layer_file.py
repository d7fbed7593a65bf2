"""Where the labels of a layer are stored: in a file, in the recovery journal, or in memory only."""

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
    """Return the `LayerFile` of a layer; each layer has exactly one."""
    layer = unwrapped(layer)
    if layer not in _files:
        _files[layer] = LayerFile(layer)
    return _files[layer]


def unsaved_layers(layers: Iterable[Any]) -> list[Labels]:
    """Return the layers with work that is not in a file."""
    return [layer for layer in layers if layer in _files and _files[layer].is_unsaved()]


def journals_of_open_layers() -> set[Path]:
    """Return the closed journals of layers still in a viewer of this process; their work is not lost yet."""
    shown = {layer for viewer in open_viewers() for layer in viewer.layers if layer in _files}
    return {path for layer in shown if (path := _files[layer].journal) is not None}


class LayerFile(QObject):
    """The state of a layer's labels: the file that holds them, and whether they were edited since.

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
        #: The file in which the labels were saved last, or from which they were opened.
        self.path: Path | None = None if layer.source.path is None else Path(layer.source.path)
        #: The recorded contents of that file, and of earlier files of the labels.
        self.known = KnownFiles()
        opened = opened_files(layer.data)
        if opened is not None:
            self.known.take(opened)
        elif self.path is not None and self.path.is_file():
            self.known.note(*files_of_labels(self.path))
        #: The image to which the labels belong.
        self.image: Image | None = None
        #: The journal that was closed while the labels were not in a file.
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
        #: Number of edits so far; comparing it shows whether the labels were edited in the meantime.
        self.edits = 0

    def note_work(self) -> None:
        """Note that the labels were edited."""
        self._work = self._edited = True
        self.untouched = False
        self.edits += 1
        self.changed.emit()

    def note_result(self, image: Image | None) -> None:
        """Note that the labels are a new, unsaved result for an image."""
        untouched = self.untouched or not self._work
        self.image = image
        self.note_work()
        self.untouched = untouched

    def note_kept(self, when: float) -> None:
        """Note that the journal holds all edits; `when` is in seconds since 1970."""
        self._kept_at = when
        self._failed = False
        self.changed.emit()

    def note_failed(self, _reason: str = "") -> None:
        """Note that the latest edits could not be written into the journal."""
        self._failed = True
        self.changed.emit()

    def note_saved(self, path: Path, edits: int | None = None, lost: str = "") -> None:
        """Note that the labels are saved in a file.

        `edits` is the number of edits when the labels were copied for the file; by default, the current number.
        `lost` names the properties of the layer that the file does not keep.
        """
        self.path = path
        self._lost = lost
        self._saved_at = time.time()
        self._edited = edits not in (None, self.edits)
        layer = self._layer()
        self._checksum = None if layer is None or self._edited else _checksum(layer)
        self.changed.emit()

    def note_unwanted(self) -> None:
        """Note that the user wants neither to save nor to recover the labels."""
        self._work = self._edited = False
        self.changed.emit()

    def end_journal(self, *, unwanted: bool = False) -> None:
        """Stop offering the closed journal, because its labels are in a file or not wanted."""
        if self.journal is not None:
            with suppress(OSError):  # it may have been deleted in the meantime
                (discard_journal if unwanted else end_journal)(self.journal)
            self.journal = None

    def discard_if_removed(self) -> None:
        """Stop offering an unedited result that the user has removed from an open viewer."""
        layer = self._layer()
        here = layer is None or not any(layer in viewer.layers for viewer in open_viewers())
        if self.untouched and here and open_viewers():
            self.end_journal(unwanted=True)

    def look_again(self) -> None:
        """Detect edits of saved labels that were made while this package did not follow the layer."""
        layer = self._layer()
        if layer is not None and not self._edited and self._checksum not in (None, _checksum(layer)):
            self._work = self._edited = True

    def is_unsaved(self) -> bool:
        """Tell whether the layer has work that is not in a file."""
        self.look_again()
        return self._work and not self._in_file()

    def in_words(self) -> str:
        """Describe where the labels are stored, such as ``kept for recovery 15:26, not saved yet``."""
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
    """Return a checksum of the labels and the facts about their objects; None if the labels are not in memory."""
    if layer.multiscale or not isinstance(layer.data, np.ndarray):
        return None
    facts = repr(sorted(read_facts(layer).items())).encode()
    return zlib.crc32(facts, zlib.crc32(np.ascontiguousarray(layer.data).view(np.uint8).reshape(-1).data))

"""The offer to recover unsaved work of earlier sessions, and of layers that were removed."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.io.journal import Kept, Recovered, end_journal, journal_folder, kept_journals, read_journal
from napari_foundseg.widgets.controls.message import Message
from napari_foundseg.widgets.controls.rows import side_by_side, wrapping_label
from napari_foundseg.widgets.editing.image_objects import assign_objects, assigned_objects
from napari_foundseg.widgets.editing.labels_history import LabelsHistory, shared_history
from napari_foundseg.widgets.editing.layer_file import journals_of_open_layers, layer_file
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_conversion import image_from_layer
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.object_features import facts_to_features
from napari_foundseg.widgets.layers.proxies import unwrapped
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

if TYPE_CHECKING:
    from napari_foundseg.io.journal import Header

__all__ = ["RecoveryRow"]

#: The row that offers in each viewer, by the id of the viewer.
_offering: dict[int, ReferenceType[RecoveryRow]] = {}
#: Milliseconds after a change of the layers.
_SOON = 50
#: Rows of the list that are shown without scrolling.
_ROWS = 4


@dataclass(frozen=True, eq=False)
class _Match:
    """An open image that unsaved work belongs to; `same` if it has the pixels of then."""

    target: ImageOnLayer
    same: bool


class RecoveryRow(QWidget):
    """Offers unsaved work: all of it in one list, of which each part can be shown, recovered or discarded.

    One form of each viewer offers: the first that was opened, and when that is closed, the next one.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer that the layers are recovered into.
    """

    #: Objects were recovered: the Labels layer, and the `ImageOnLayer` that they belong to, or None.
    recovered = Signal(object, object)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = unwrapped(viewer)
        self._latest = NumpyThread("recovery")
        self._latest.done.connect(self._search_done)
        self._found: list[Kept] = []
        self._later: set[Path] = set()
        self._held: list[LabelsHistory] = []
        self._previews: list[Labels] = []
        self.words = wrapping_label("")
        self.list = QListWidget()
        self.list.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setAccessibleName("Unsaved work")
        self.list.itemSelectionChanged.connect(self._show_chosen)
        self.message = Message(viewer.theme)
        self.show_button, self.keep_button = QPushButton("Show"), QPushButton("Recover")
        self.discard_button, self.later_button = QPushButton("Discard"), QPushButton("Later")
        for button, act, text in (
            (self.show_button, self._show_preview, "Preview the chosen ones."),
            (self.keep_button, self._recover, "Recover the chosen ones as Labels layers and continue with them."),
            (self.discard_button, self._discard, "Never offer the chosen ones again."),
            (self.later_button, self._put_off, "Offer all of them again when napari is started the next time."),
        ):
            button.clicked.connect(act)
            button.setToolTip(text)
        self._offer = QWidget()
        offer = QVBoxLayout(self._offer)
        offer.setContentsMargins(0, 0, 0, 0)
        offer.addWidget(self.words)
        offer.addWidget(self.list)
        offer.addWidget(side_by_side(self.show_button, self.keep_button, self.discard_button, self.later_button))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._offer)
        layout.addWidget(self.message)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SOON)
        self._soon.timeout.connect(self.look)
        viewer.layers.events.removed.connect(self._look_soon)
        self.hide()
        self.look()

    @property
    def offers(self) -> bool:
        """Whether this row is the one that offers in its viewer."""
        other = _offering.get(id(self._viewer))
        first = None if other is None else other()
        if first is None or first._viewer is not self._viewer:
            _offering[id(self._viewer)] = ref(self)
            return True
        return first is self

    def look(self) -> None:
        """Look in the background for unsaved work."""
        if self.offers:
            self._latest.ask(lambda: [kept for kept in kept_journals(journal_folder()) if kept.lost])

    def close_preview(self) -> None:
        """Remove the previews from the viewer."""
        for preview in self._previews:
            if preview in self._viewer.layers:
                self._viewer.layers.remove(preview)
        self._previews = []

    def release(self) -> None:
        """Disconnect from the viewer and its layers; another form offers from now on."""
        self._latest.number += 1
        self._viewer.layers.events.removed.disconnect(self)
        self.close_preview()
        for history in self._held:
            history.leave(self)
        self._held = []
        if self.offers:
            del _offering[id(self._viewer)]

    def _look_soon(self, event: Any) -> None:
        if TOOL not in event.value.metadata:
            for history in [history for history in self._held if history.layer is event.value]:
                self._held.remove(history)
                history.leave(self)
            self._soon.start()

    # The list.

    def _search_done(self, number: int, found: Any) -> None:
        if number != self._latest.number or isinstance(found, Exception):
            return
        here = journals_of_open_layers()
        self._list([kept for kept in found if kept.path not in here and kept.path not in self._later])

    def _list(self, found: list[Kept]) -> None:
        """Offer these; all are chosen."""
        if [kept.path for kept in found] == [kept.path for kept in self._found] and found:
            return
        self._found = found
        self.list.clear()
        for kept in found:
            item = QListWidgetItem(_in_words(kept))
            item.setToolTip(kept.header.source or "The image was in no file.")
            self.list.addItem(item)
        self.list.selectAll()
        self.list.setVisible(len(found) > 1)
        height = self.list.sizeHintForRow(0) if found else 0
        self.list.setFixedHeight(height * min(len(found), _ROWS) + 2 * self.list.frameWidth())
        if len(found) == 1:
            self.words.setText(f"Unsaved work was found: {_in_words(found[0])}. Recover it?")
        else:
            self.words.setText(f"Unsaved work of {len(found)} layers was found; all are chosen. Recover them?")
        self._offer.setVisible(bool(found))
        if found:
            self.message.say("")
        self.setVisible(bool(found) or bool(self.message.text()))

    def _chosen(self) -> list[Kept]:
        rows = sorted(self.list.row(item) for item in self.list.selectedItems())
        return [self._found[row] for row in rows]

    def _show_chosen(self) -> None:
        many = f" {len(self.list.selectedItems())}" if len(self._found) > 1 else ""
        self.keep_button.setText(f"Recover{many}")
        self.discard_button.setText(f"Discard{many}")
        for button in (self.show_button, self.keep_button, self.discard_button):
            button.setEnabled(bool(self.list.selectedItems()))

    def _forget(self, done: list[Kept], words: str) -> None:
        """Take some off the list."""
        self.close_preview()
        gone = {kept.path for kept in done}
        self._list([kept for kept in self._found if kept.path not in gone])
        self.message.say(words)
        self.setVisible(bool(self._found) or bool(words))

    # What the user does.

    def _read(self, kept: Kept) -> Recovered | None:
        try:
            return read_journal(kept.path)
        except FoundsegError as error:
            self.message.say(str(error))
            return None

    def _show_preview(self) -> None:
        self.close_preview()
        active = self._viewer.layers.selection.active
        for kept in self._chosen():
            found = self._read(kept)
            if found is not None:
                name = unique_name(self._viewer.layers, "foundseg recovery (preview)")
                layer = _layer(found, name, self._match(found.header))
                layer.metadata = {TOOL: True}
                layer.editable = False
                self._viewer.add_layer(layer)
                self._previews.append(layer)
        self._viewer.layers.selection.active = active

    def _recover(self) -> None:
        self.close_preview()
        done = []
        words = []
        for kept in self._chosen():
            found = self._read(kept)
            if found is not None:
                done.append(kept)
                words.append(self._add(found, kept))
        failed = self.message.text() if len(done) < len(self._chosen()) else ""
        self._forget(done, " ".join(filter(None, [*words, failed])))

    def _add(self, found: Recovered, kept: Kept) -> str:
        """Add recovered labels to the viewer, and keep them in a journal; return what the user has to know."""
        match = self._match(found.header)
        target = None if match is None else match.target
        before = None if target is None else assigned_objects(target.layer)
        image = target.image if match is not None and match.same and target is not None else None
        if before is not None and before in self._viewer.layers and _takes(before, found):
            history = shared_history(before, image, self)
            history.write("recover", [(tuple(slice(0, n) for n in found.labels.shape), found.labels)], found.known)
        else:
            active = self._viewer.layers.selection.active
            layer = _layer(found, unique_name(self._viewer.layers, found.header.layer), match)
            self._viewer.add_layer(layer)
            if active is not None:
                # The tool in use stays active.
                self._viewer.layers.selection.active = active
            history = shared_history(layer, image, self)
            layer_file(layer).note_work()
            if target is not None and image is not None:
                assign_objects(target.layer, layer)
        self._held.append(history)
        history.journal.replace(kept.path)
        history.journal.open()
        self.recovered.emit(history.layer, target if image is not None else None)
        return _about_image(found.header, history.layer.name, match)

    def _discard(self) -> None:
        chosen = self._chosen()
        if len(chosen) > 1:
            question = f"Discard the unsaved work of {len(chosen)} layers? It is in no file."
            if QMessageBox.question(self, "Discard", question) != QMessageBox.StandardButton.Yes:
                return
        done = []
        words = ""
        for kept in chosen:
            try:
                with suppress(FileNotFoundError):
                    end_journal(kept.path)
                done.append(kept)
            except OSError as error:
                words = f"It could not be discarded ({error.strerror}: {kept.path}) and will be offered again."
        self._forget(done, words)

    def _put_off(self) -> None:
        self._later |= {kept.path for kept in self._found}
        self._forget(self._found, "")

    def _match(self, header: Header) -> _Match | None:
        """Return the open image that unsaved work belongs to: of the same pixels, else from the same file."""
        from_file = None
        for layer in self._viewer.layers:
            if type(layer) is not ImageLayer or TOOL in layer.metadata:
                continue
            with suppress(Exception):  # an image that cannot be read is not the one
                target = ImageOnLayer(layer, image_from_layer(layer))
                if tuple(target.overlay.shape) != header.shape:
                    continue
                if header.image in (target.image.identity(), target.image.fingerprint()):
                    return _Match(target, True)
                if header.source is not None and target.image.source == header.source:
                    from_file = _Match(target, False)
        return from_file


def _layer(found: Recovered, name: str, match: _Match | None) -> Labels:
    """Return a layer of recovered labels, over their image where that is open."""
    place = dict(found.header.place) if match is None else match.target.overlay.transforms
    return Labels(found.labels, name=name, features=facts_to_features(found.known), **place)


def _takes(layer: Labels, found: Recovered) -> bool:
    """Tell whether recovered labels belong into a layer that is there already: it is empty, or was theirs."""
    if layer.data.shape != found.labels.shape or not isinstance(layer.data, np.ndarray):
        return False
    return layer.name == found.header.layer or not layer.data.any()


def _in_words(kept: Kept) -> str:
    header = kept.header
    when = time.strftime("%d %b %H:%M", time.localtime(kept.changed))
    steps = "1 step" if kept.steps == 1 else f"{kept.steps} steps"
    image = f" of {Path(header.source).name}" if header.source else ""
    return f"{header.layer!r}{image}, {when} ({steps})"


def _about_image(header: Header, layer: str, match: _Match | None) -> str:
    """Return what the user has to know of the image of recovered labels; empty where it is open and unchanged."""
    if match is not None and match.same:
        return ""
    if match is not None:
        return f"{layer!r} was recovered. {match.target.name!r} has other pixels or channels now than the objects had."
    if header.source is None:
        return f"{layer!r} was recovered. Its image is not open." if header.image else ""
    there = "is not open" if Path(header.source).exists() else "is not where it was"
    return f"{layer!r} was recovered. Its image {header.source!r} {there}."

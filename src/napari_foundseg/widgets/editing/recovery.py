"""The offer to recover unsaved work from earlier sessions and from removed layers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import ReferenceType, ref

from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.io.journal import (
    Kept,
    Recovered,
    discard_journal,
    journal_folder,
    kept_journal,
    kept_journals,
    read_journal,
    reoffer_journal,
)
from napari_foundseg.widgets.controls.message import Message
from napari_foundseg.widgets.controls.rows import side_by_side, wrapping_label
from napari_foundseg.widgets.editing.layer_file import journals_of_open_layers
from napari_foundseg.widgets.editing.recovered_layers import add_preview, add_recovered
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.proxies import unwrapped
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

__all__ = ["RecoveryRow"]

#: The row that makes the offer in each viewer, by the id of the viewer.
_offering: dict[int, ReferenceType[RecoveryRow]] = {}
#: Milliseconds from the opening of a form, which is drawn meanwhile, or the removal of a layer to the next search.
_SOON = 50
#: Greatest number of list rows that are shown without scrolling.
_ROWS = 4
#: The menu entry that lists work that is no longer offered.
_PLACE = "Plugins \u203a FoundSeg \u203a Recover work"


class RecoveryRow(QWidget):
    """The offer of unsaved work in one list; each entry can be shown, recovered or discarded.

    Only one form in each viewer makes the offer: the first that was opened and, after it is closed, the next one.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer to which recovered layers are added.
    everything : bool
        Whether to always show the list, including work that was discarded or postponed.
    """

    #: Objects were recovered: the Labels layer, and the `ImageOnLayer` to which they belong, or None.
    recovered = Signal(object, object)

    def __init__(self, viewer: ViewerModel, *, everything: bool = False) -> None:
        super().__init__()
        self._viewer = unwrapped(viewer)
        self._everything = everything
        self._latest = NumpyThread("recovery")
        self._latest.done.connect(self._search_done)
        self._found: list[Kept] = []
        self._later: set[Path] = set()
        self._previews: list[Labels] = []
        self.words = wrapping_label("")
        self.list = QListWidget()
        self.list.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setAccessibleName("Unsaved work")
        self.list.setToolTip("Choose one or more (Ctrl+click, Shift+click).")
        self.list.itemSelectionChanged.connect(self._show_chosen)
        self.message = Message(viewer.theme)
        self.show_button, self.keep_button = QPushButton("Show"), QPushButton("Recover")
        self.discard_button, self.later_button = QPushButton("Discard"), QPushButton("Later")
        for button, act, text in (
            (self.show_button, self._show_preview, "Preview the chosen ones."),
            (self.keep_button, self._recover, "Recover the chosen ones as Labels layers and continue with them."),
            (self.discard_button, self._discard,
             f"Do not offer the chosen ones again. {_PLACE} has them for two weeks."),
            (self.later_button, self._put_off,
             f"Offer all of them again when napari is started the next time; {_PLACE} has them meanwhile."),
        ):  # fmt: skip
            button.clicked.connect(act)
            button.setToolTip(text)
        if everything:
            self.later_button.hide()
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
        self._soon.start()

    @property
    def offers(self) -> bool:
        """Whether this row makes the offer in its viewer; always true with `everything`."""
        if self._everything:
            return True
        other = _offering.get(id(self._viewer))
        first = None if other is None else other()
        if first is None or first._viewer is not self._viewer:
            _offering[id(self._viewer)] = ref(self)
            return True
        return first is self

    def look(self) -> None:
        """Search for unsaved work in a background thread."""
        if self.offers:
            self._latest.ask(lambda: [kept for kept in kept_journals(journal_folder()) if self._is_listed(kept)])

    def close_preview(self) -> None:
        """Remove the previews from the viewer."""
        for preview in self._previews:
            if preview in self._viewer.layers:
                self._viewer.layers.remove(preview)
        self._previews = []

    def release(self) -> None:
        """Disconnect from the viewer and its layers, so that another form can make the offer."""
        # A later search would make the offer again.
        self._soon.stop()
        self._latest.number += 1
        self._viewer.layers.events.removed.disconnect(self)
        self.close_preview()
        if self.offers and not self._everything:
            del _offering[id(self._viewer)]

    def _is_listed(self, kept: Kept) -> bool:
        return kept.lost or (self._everything and kept.discarded)

    def _look_soon(self, event: Any) -> None:
        if TOOL not in event.value.metadata:
            self._soon.start()

    # The list.

    def _search_done(self, number: int, found: Any) -> None:
        if number != self._latest.number or isinstance(found, Exception):
            return
        here = journals_of_open_layers()
        self._list([kept for kept in found if kept.path not in here and kept.path not in self._later])

    def _list(self, found: list[Kept]) -> None:
        """List unsaved work; all entries are selected except those that were discarded."""
        if [(kept.path, kept.discarded) for kept in found] == [(k.path, k.discarded) for k in self._found] and found:
            return
        self._found = found
        self.list.clear()
        for kept in found:
            item = QListWidgetItem(_in_words(kept))
            item.setToolTip(kept.header.source or "The image was not in a file.")
            self.list.addItem(item)
            item.setSelected(not kept.discarded)
        self.list.setVisible(len(found) > 1 or (self._everything and bool(found)))
        height = self.list.sizeHintForRow(0) if found else 0
        rows = len(found) if self._everything else min(len(found), _ROWS)
        self.list.setFixedHeight(height * rows + 2 * self.list.frameWidth())
        self.words.setText(self._question())
        self._show_chosen()
        self._offer.setVisible(bool(found) or self._everything)
        if found:
            self.message.say("")
        self.setVisible(bool(found) or bool(self.message.text()) or self._everything)

    def _question(self) -> str:
        if self._everything:
            return "Unsaved labels, latest first:" if self._found else "There is nothing to recover."
        if len(self._found) == 1:
            return f"Unsaved work was found: {_in_words(self._found[0])}. Recover it?"
        return f"Unsaved work of {len(self._found)} layers was found; all are chosen. Recover them?"

    def _chosen(self) -> list[Kept]:
        rows = sorted(self.list.row(item) for item in self.list.selectedItems())
        return [self._found[row] for row in rows]

    def _show_chosen(self) -> None:
        chosen = self._chosen()
        many = f" {len(chosen)}" if len(self._found) > 1 else ""
        self.keep_button.setText(f"Recover{many}")
        self.discard_button.setText(f"Discard{many}")
        for button in (self.show_button, self.keep_button):
            button.setEnabled(bool(chosen))
        self.discard_button.setEnabled(any(not kept.discarded for kept in chosen))

    def _forget(self, done: Sequence[Kept], words: str) -> None:
        """Remove entries from the list and show a message."""
        self.close_preview()
        gone = {kept.path for kept in done}
        self._list([kept for kept in self._found if kept.path not in gone])
        self.message.say(words)
        self.setVisible(bool(self._found) or bool(words) or self._everything)

    # User actions.

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
            if (found := self._read(kept)) is not None:
                self._previews.append(add_preview(self._viewer, found))
        self._viewer.layers.selection.active = active

    def _recover(self) -> None:
        self.close_preview()
        done = []
        words = []
        for kept in self._chosen():
            now = kept_journal(kept.path)
            if now is not None and not self._is_listed(now):
                words.append(f"{kept.header.layer!r} was recovered in another window meanwhile, or discarded there.")
                done.append(kept)
                continue
            found = self._read(kept)
            if found is not None:
                if kept.discarded:
                    # A crash before the new journal is on the disk must not lose it.
                    with suppress(OSError):
                        reoffer_journal(kept.path)
                done.append(kept)
                layer, target, about = add_recovered(self._viewer, found, kept)
                self.recovered.emit(layer, target)
                words.append(about)
        failed = self.message.text() if len(done) < len(self._chosen()) else ""
        self._forget(done, " ".join(filter(None, [*words, failed])))

    def _discard(self) -> None:
        chosen = [kept for kept in self._chosen() if not kept.discarded]
        if len(chosen) > 1:
            question = (
                f"Discard the unsaved work of {len(chosen)} layers? It is not saved. {_PLACE} has it for two weeks."
            )
            if QMessageBox.question(self, "Discard", question) != QMessageBox.StandardButton.Yes:
                return
        done = []
        words = ""
        for kept in chosen:
            try:
                with suppress(FileNotFoundError):
                    discard_journal(kept.path)
                done.append(kept)
            except OSError as error:
                words = f"It could not be discarded ({error.strerror}: {kept.path}) and will be offered again."
        self._forget(done, words)
        if self._everything:
            self.look()

    def _put_off(self) -> None:
        self._later |= {kept.path for kept in self._found}
        self._forget(self._found, "")


def _in_words(kept: Kept) -> str:
    header = kept.header
    when = time.strftime("%d %b %H:%M", time.localtime(kept.edited or kept.changed))
    steps = "1 step" if kept.steps == 1 else f"{kept.steps} steps" if kept.steps else "not edited"
    damaged = f", {kept.lost_steps} more damaged" if kept.lost_steps else ""
    image = f" of {Path(header.source).name}" if header.source else ""
    return f"{header.layer!r}{image}, {when} ({steps}{damaged}{', discarded' if kept.discarded else ''})"

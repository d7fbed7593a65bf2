"""The offer to recover unsaved objects after a crash."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.io.journal import Kept, Recovered, end_journal, journal_folder, kept_journals, read_journal
from napari_foundseg.widgets.controls.message import Message
from napari_foundseg.widgets.controls.rows import side_by_side, wrapping_label
from napari_foundseg.widgets.editing.labels_history import LabelsHistory
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

__all__ = ["RecoveryRow", "resume_journal"]


class RecoveryRow(QWidget):
    """Offers objects of a session that crashed: they can be shown, recovered or dismissed.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer that the preview is shown in.
    """

    #: The user wants them: the `Recovered`, and the `Kept` journal that it comes from.
    wanted = Signal(object, object)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._latest = NumpyThread()
        self._latest.done.connect(self._search_done)
        self._kept: Kept | None = None
        self._preview: Labels | None = None
        self._target: ImageOnLayer | None = None
        self.words = wrapping_label("")
        self.message = Message(viewer.theme)
        self.show_button, self.keep_button = QPushButton("Show"), QPushButton("Recover")
        self.discard_button = QPushButton("Dismiss")
        for button, act, text in (
            (self.show_button, self._show_preview, "Preview the objects over the image."),
            (self.keep_button, self._recover, "Recover the objects into a Labels layer and continue with them."),
            (self.discard_button, self._dismiss, "Do not offer these objects again. Their file is not deleted yet."),
        ):
            button.clicked.connect(act)
            button.setToolTip(text)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.words)
        layout.addWidget(side_by_side(self.show_button, self.keep_button, self.discard_button))
        layout.addWidget(self.message)
        self.hide()

    def look(self, target: ImageOnLayer) -> None:
        """Look in the background for unsaved work on an image."""
        self.close_preview()
        self.hide()
        self._kept = None
        self._target = target
        image = target.image
        shape = target.overlay.shape
        self._latest.ask(lambda: _find_unsaved(image, shape))

    def close_preview(self) -> None:
        """Remove the preview from the viewer."""
        if self._preview is not None and self._preview in self._viewer.layers:
            self._viewer.layers.remove(self._preview)
        self._preview = None

    def _search_done(self, number: int, kept: Any) -> None:
        if number != self._latest.number or not isinstance(kept, Kept):
            return
        self._kept = kept
        when = time.strftime("%d %b, %H:%M", time.localtime(kept.changed))
        steps = "1 step" if kept.steps == 1 else f"{kept.steps} steps"
        self.words.setText(f"Unsaved objects of this image from {when} were found ({steps}). Recover them?")
        self.show_button.setEnabled(True)
        self.message.say("")
        self.show()

    def _read_journal(self) -> Recovered | None:
        assert self._kept is not None
        try:
            return read_journal(self._kept.path)
        except FoundsegError as error:
            self.message.say(str(error))
            return None

    def _show_preview(self) -> None:
        found = self._read_journal()
        if found is None or self._target is None:
            return
        self.close_preview()
        name = unique_name(self._viewer.layers, "foundseg recovery (preview)")
        active = self._viewer.layers.selection.active
        self._preview = Labels(found.labels, name=name, metadata={TOOL: True}, **self._target.overlay.transforms)
        self._preview.editable = False
        self._viewer.add_layer(self._preview)
        self._viewer.layers.selection.active = active
        self.show_button.setEnabled(False)

    def _recover(self) -> None:
        found = self._read_journal()
        kept = self._kept
        if found is None:
            return
        self.close_preview()
        self.hide()
        self.wanted.emit(found, kept)

    def _dismiss(self) -> None:
        assert self._kept is not None
        self.close_preview()
        self.hide()
        with suppress(OSError):  # it may have been deleted in the meantime
            end_journal(self._kept.path)


def resume_journal(history: LabelsHistory, kept: Kept) -> None:
    """End a recovered journal as soon as the layer's own journal, with the same objects, is on the disk."""

    def held(_when: float) -> None:
        history.journal.saved.disconnect(held)
        with suppress(OSError):  # it may have been deleted in the meantime
            end_journal(kept.path)

    history.journal.saved.connect(held)
    history.journal.open()


def _find_unsaved(image: Image, shape: tuple[int, ...]) -> Kept | None:
    """Return the latest journal of a crashed session that fits an image."""
    found = kept_journals(journal_folder(), image.identity())
    return next((kept for kept in found if kept.lost and kept.header.shape == shape), None)

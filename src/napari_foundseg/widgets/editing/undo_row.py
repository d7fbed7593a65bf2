"""Undo and redo buttons, and the state of the journal."""

from __future__ import annotations

import time
from collections.abc import Callable

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_foundseg.widgets.controls.message import Message
from napari_foundseg.widgets.controls.rows import side_by_side, wrapping_label
from napari_foundseg.widgets.editing.labels_history import LabelsHistory

__all__ = ["UndoRow"]


class UndoRow(QWidget):
    """Undo and redo of one layer's history, and the time of the last save."""

    def __init__(self, theme: str) -> None:
        super().__init__()
        self._history: LabelsHistory | None = None
        self.undo_button, self.redo_button = QPushButton("Undo (Ctrl+Z)"), QPushButton("Redo (Ctrl+⇧+Z)")
        self.state = wrapping_label("")
        self.message = Message(theme)
        self.undo_button.clicked.connect(lambda: self._call_history(LabelsHistory.undo))
        self.redo_button.clicked.connect(lambda: self._call_history(LabelsHistory.redo))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(side_by_side(self.undo_button, self.redo_button))
        layout.addWidget(self.state)
        layout.addWidget(self.message)
        self._show_state("")

    def follow(self, history: LabelsHistory) -> None:
        """Act on another history."""
        if history is self._history:
            return
        if self._history is not None:
            self._history.changed.disconnect(self._show_state)
            self._history.journal.saved.disconnect(self._show_saved)
            self._history.journal.failed.disconnect(self._show_failed)
        self._history = history
        history.changed.connect(self._show_state)
        history.journal.saved.connect(self._show_saved)
        history.journal.failed.connect(self._show_failed)
        self._show_state("")

    def _call_history(self, act: Callable[[LabelsHistory], None]) -> None:
        if self._history is not None:
            act(self._history)

    def _show_state(self, words: str) -> None:
        names = (None, None) if self._history is None else (self._history.undo_name, self._history.redo_name)
        for button, name, text, key in zip(
            (self.undo_button, self.redo_button), names, ("Undo", "Redo"), ("Ctrl+Z", "Ctrl+Shift+Z"), strict=True
        ):
            button.setEnabled(name is not None)
            state = f": {name}" if name else " is not possible: nothing has been changed yet"
            button.setToolTip(f"{text}{state} (key {key} on the layer).")
        if words:
            self.state.setText(words)

    def _show_saved(self, when: float) -> None:
        self.message.say("")
        self.state.setText(f"saved {time.strftime('%H:%M:%S', time.localtime(when))}")

    def _show_failed(self, reason: str) -> None:
        self.state.setText("not saved")
        self.message.say(
            f"The changes could not be saved for recovery ({reason}). Until the next attempt, save the layer with "
            "File > Save Selected Layers."
        )

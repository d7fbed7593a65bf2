"""Undo and redo buttons, and a line that says where the labels are stored."""

from __future__ import annotations

from typing import Any, Protocol

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_foundseg.widgets.controls.rows import side_by_side
from napari_foundseg.widgets.editing.labels_history import LabelsHistory
from napari_foundseg.widgets.editing.save_row import SaveRow

__all__ = ["UndoRow"]


class Steps(Protocol):
    """An undo history for the buttons, such as a `LabelsHistory`."""

    #: Steps were added, undone or redone: a Qt signal with a sentence for the user, which may be empty.
    changed: Any

    @property
    def undo_name(self) -> str | None:
        """Name of the step that undo would revert; None if there is none."""

    @property
    def redo_name(self) -> str | None:
        """Name of the step that redo would repeat; None if there is none."""

    def undo(self) -> None:
        """Revert the last step."""

    def redo(self) -> None:
        """Repeat the step that was undone last."""


class UndoRow(QWidget):
    """Undo and redo for one layer's history, the last action, and *Save labels…*.

    Parameters
    ----------
    steps : Steps, optional
        The steps to undo and redo; by default those of the history that is followed.
    """

    def __init__(self, theme: str, steps: Steps | None = None) -> None:
        super().__init__()
        self._history: LabelsHistory | None = None
        self._own_steps = steps
        self._failing = False
        self.undo_button, self.redo_button = QPushButton("Undo (Ctrl+Z)"), QPushButton("Redo (Ctrl+⇧+Z)")
        self.saving = SaveRow(theme)
        self.state = self.saving.state
        self.message = self.saving.message
        self.undo_button.clicked.connect(lambda: None if self._steps is None else self._steps.undo())
        self.redo_button.clicked.connect(lambda: None if self._steps is None else self._steps.redo())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(side_by_side(self.undo_button, self.redo_button))
        layout.addWidget(self.saving)
        if steps is not None:
            steps.changed.connect(self._show_state)
        self._show_state("")

    @property
    def _steps(self) -> Steps | None:
        return self._own_steps or self._history

    def follow(self, history: LabelsHistory | None) -> None:
        """Act on another history, or on None if its layer is gone."""
        if history is self._history:
            return
        if self._history is not None:
            if self._own_steps is None:
                self._history.changed.disconnect(self._show_state)
            self._history.journal.saved.disconnect(self._clear_failure)
            self._history.journal.failed.disconnect(self._show_failed)
        self._history = history
        self.saving.follow(None if history is None else history.layer)
        if history is not None:
            if self._own_steps is None:
                history.changed.connect(self._show_state)
            history.journal.saved.connect(self._clear_failure)
            history.journal.failed.connect(self._show_failed)
        self._show_state("")

    def _show_state(self, words: str) -> None:
        steps = self._steps
        names = (None, None) if steps is None else (steps.undo_name, steps.redo_name)
        nothing = ("nothing has been changed yet", "nothing has been undone")
        for button, name, text, key, why in zip(
            (self.undo_button, self.redo_button),
            names,
            ("Undo", "Redo"),
            ("Ctrl+Z", "Ctrl+Shift+Z"),
            nothing,
            strict=True,
        ):
            button.setEnabled(name is not None)
            state = f": {name}" if name else f" is not possible: {why}"
            button.setToolTip(f"{text}{state} (key {key} on the layer).")
        self.saving.say(words)

    def _clear_failure(self, _when: float) -> None:
        if self._failing:
            self._failing = False
            self.message.say("")

    def _show_failed(self, reason: str) -> None:
        self._failing = True
        self.message.say(
            f"The changes could not be kept for recovery ({reason}). Until the next attempt, they are in memory only: "
            f"press {self.saving.button.text()!r}."
        )

"""Progress of the edit of a layer that is being computed, and *Cancel*."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QWidget

if TYPE_CHECKING:
    from napari_foundseg.widgets.editing.background_edits import BackgroundEdits

__all__ = ["EditRow"]

#: Milliseconds between updates of the progress bar.
_INTERVAL = 100
_STEPS = 1000


class EditRow(QWidget):
    """A progress bar and *Cancel*, shown while an edit of one layer is being computed."""

    #: An edit has begun or ended.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._edits: BackgroundEdits | None = None
        self.bar = QProgressBar()
        self.bar.setRange(0, _STEPS)
        self.bar.setAccessibleName("Progress of the edit")
        self.bar.setToolTip("How many of the objects are done.")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop computing the edit; nothing is changed. Ctrl+Z on the layer does the same.")
        self.cancel_button.clicked.connect(lambda: None if self._edits is None else self._edits.cancel())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.bar, 1)
        layout.addWidget(self.cancel_button)
        self._timer = QTimer(self)
        self._timer.setInterval(_INTERVAL)
        self._timer.timeout.connect(self._show_progress)
        self.hide()

    @property
    def name(self) -> str:
        """Name of the edit; empty if none is being computed."""
        return "" if self._edits is None else self._edits.name

    def follow(self, edits: BackgroundEdits | None) -> None:
        """Show the edits of another layer; None for no layer."""
        if self._edits is not None:
            self._edits.changed.disconnect(self._show)
        self._edits = edits
        if edits is not None:
            edits.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        self.setVisible(bool(self.name))
        if self.name:
            self._timer.start()
            self._show_progress()
        else:
            self._timer.stop()
        self.changed.emit()

    def _show_progress(self) -> None:
        progress = None if self._edits is None else self._edits.progress
        if progress is not None:
            # Without this, Qt would redraw the whole window before it continues.
            self.bar.setUpdatesEnabled(False)
            self.bar.setValue(int(_STEPS * progress.done))
            self.bar.setUpdatesEnabled(True)

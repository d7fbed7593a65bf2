"""The buttons *Run* and *Cancel*, with the progress of the run below."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.widgets.controls.usability import set_usable

__all__ = ["RunRow"]


class RunRow(QWidget):
    """Two buttons, a progress bar, and a line of text.

    Parameters
    ----------
    text, tooltip : str
        Text and tooltip of the button that starts a run.
    """

    def __init__(self, text: str, tooltip: str) -> None:
        super().__init__()
        self.run_button = QPushButton(text)
        self.run_button.setToolTip(tooltip)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop the run; no layer is changed.")
        self.bar = QProgressBar()
        self.bar.setRange(0, 100)
        self.words = QLabel()
        self.words.setWordWrap(True)
        line = QHBoxLayout()
        line.addWidget(self.run_button, 2)
        line.addWidget(self.cancel_button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(line)
        layout.addWidget(self.bar)
        layout.addWidget(self.words)

    def show_busy(self) -> None:
        """Show that a run has begun."""
        set_usable(self.run_button, "A run is under way.")
        set_usable(self.cancel_button, "")
        self.bar.setValue(0)
        self.bar.show()
        self.words.setText("starting")

    def show_idle(self) -> None:
        """Show that no run is in progress."""
        set_usable(self.cancel_button, "Nothing is running.")
        self.bar.hide()

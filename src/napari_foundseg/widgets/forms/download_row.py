"""Progress of work on a model, with *Pause* and *Cancel*."""

from __future__ import annotations

from qtpy.QtWidgets import QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.widgets.controls.rows import side_by_side, wrapping_label
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.runs.model_work import model_work

__all__ = ["DownloadRow"]

_STOPPING = "It is being stopped."


class DownloadRow(QWidget):
    """Progress of a model's download, check or timing; hidden if no work is in progress."""

    def __init__(self) -> None:
        super().__init__()
        self._name = ""
        self.bar = QProgressBar()
        self.bar.setRange(0, 100)
        self.bar.setAccessibleName("Progress of the model")
        self.words = wrapping_label("")
        self.words.setAccessibleName("What is done with the model")
        self.pause_button = QPushButton("Pause")
        self.pause_button.setToolTip(
            "Stop the download and keep the downloaded part; Resume continues from there, also after a restart."
        )
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(self._cancel)
        self.pause_button.clicked.connect(lambda: model_work().stop(self._name))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.bar, self.words, side_by_side(self.pause_button, self.cancel_button)):
            layout.addWidget(widget)
        model_work().changed.connect(self._refresh)
        self.hide()

    def show_model(self, name: str) -> None:
        """Show the work on another model; an empty name stands for no model."""
        self._name = name
        self._refresh(name)

    def _cancel(self) -> None:
        now = model_work().of(self._name)
        if now is not None and now.kind == "download":
            model_work().discard(self._name)
        else:
            model_work().stop(self._name)

    def _refresh(self, name: str) -> None:
        if name != self._name:
            return
        now = model_work().of(name) if name else None
        self.setVisible(now is not None)
        if now is None:
            return
        download = now.kind == "download"
        self.pause_button.setVisible(download)
        self.cancel_button.setToolTip(
            "Stop the download and delete the downloaded part." if download else "Stop; nothing is changed."
        )
        for button in (self.pause_button, self.cancel_button):
            set_usable(button, _STOPPING if now.stopping else "")
        self.bar.setValue(round(100 * now.share))
        self.words.setText(now.words)

"""The offer to download the model that a run needs, and to start the run afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import Cancelled, FoundsegError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.downloads.size_text import size_text
from napari_foundseg.widgets.controls.rows import side_by_side, wrapping_label
from napari_foundseg.widgets.forms.download_row import DownloadRow
from napari_foundseg.widgets.runs.model_work import model_work

__all__ = ["DownloadOffer"]


class DownloadOffer(QWidget):
    """An offer shown when *Run* was pressed with a model that is not on this computer; hidden otherwise."""

    #: The download has failed; its FoundsegError.
    failed = Signal(object)
    #: The user wants to see the model in the dock *Models*; its name.
    more = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        #: Name of the model.
        self.name = ""
        self._begun = False
        self._then: Callable[[], None] = lambda: None
        self.words = wrapping_label("")
        self.words.setAccessibleName("Download of the model")
        self.download_button = QPushButton("Download and run")
        self.download_button.clicked.connect(self._download)
        self.more_button = QPushButton("More in Models…")
        self.more_button.setToolTip("Open Models with this model chosen.")
        self.more_button.clicked.connect(lambda: self.more.emit(self.name))
        self.buttons = side_by_side(self.download_button, self.more_button)
        self.progress = DownloadRow()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.words, self.buttons, self.progress):
            layout.addWidget(widget)
        model_work().changed.connect(self._refresh)
        model_work().ended.connect(self._end)
        self.hide()

    def offer(self, row: CatalogRow, then: Callable[[], None]) -> None:
        """Offer the download of a model that has an address; `then` is called after it is complete.

        If the model is already being downloaded, the offer counts as accepted.
        """
        self.name = row.name
        self._then = then
        under_way = model_work().of(row.name)
        self._begun = under_way is not None and under_way.kind == "download"
        self.words.setText(
            f"This run needs a model that is not on this computer. Download {row.title}? {size_text(row.size_mb)}. "
            f"Licence of the code: {row.code_licence}; of the weights: {row.weights_licence}."
            + (" Its authors ask for your consent: see Models." if row.gated else "")
        )
        self.download_button.setToolTip(f"Download {size_text(row.size_mb)}, then run.")
        self.progress.show_model(row.name)
        self._refresh(row.name)
        self.show()

    def withdraw(self) -> None:
        """Hide the offer; a running download continues, but no run follows it."""
        self._begun = False
        self._then = lambda: None
        self.hide()

    def _download(self) -> None:
        self._begun = True
        model_work().start(self.name, "download")

    def _refresh(self, name: str) -> None:
        if name == self.name:
            self.buttons.setVisible(model_work().of(name) is None)

    def _end(self, name: str, kind: str, outcome: Any) -> None:
        if name != self.name or kind != "download" or self.isHidden():
            return
        begun, self._begun = self._begun, False
        if isinstance(outcome, Cancelled):
            return
        if isinstance(outcome, FoundsegError):
            self.failed.emit(outcome)
            return
        self.hide()
        if begun:
            self._then()

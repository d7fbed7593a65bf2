"""A description of the axes and scale that a layer got from its file, and a button to undo them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QHBoxLayout, QToolButton, QWidget

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.widgets.controls.rows import wrapping_label
from napari_foundseg.widgets.layers.file_facts import (
    applied_facts,
    apply_facts,
    ask_facts,
    notes_of_file,
    settle_facts,
    undo_facts,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["FileFactsRow"]


class FileFactsRow(QWidget):
    """The axes and scale that the chosen layer got from its file, with notes on the file and *Undo*.

    Axes and scale are applied as soon as the file is read. The row is hidden if there is nothing to show.
    """

    #: Axes or a scale were applied to the layer, or undone.
    applied = Signal()
    _read = Signal(object, object)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._layer: ImageLayer | None = None
        self.words = wrapping_label("")
        self.undo_button = QToolButton()
        self.undo_button.setText("Undo")
        self.undo_button.setAccessibleName("Undo what was taken from the file")
        self.undo_button.setToolTip(
            "Take axes and scale of the file away from the layer, and from those that were scaled with it."
        )
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.words, 1)
        row.addWidget(self.undo_button)
        self.undo_button.clicked.connect(self._undo)
        self._read.connect(self._use)
        self.hide()

    def follow(self, layer: ImageLayer | None) -> None:
        """Read the file of a layer in a background thread; None for no layer."""
        self._layer = layer
        asked = None if layer is None else ask_facts(layer)
        if asked is not None:
            asked.add_done_callback(lambda future: self._tell(layer, future))
        self._show()

    def settle(self, seconds: float) -> None:
        """Wait for the file of the layer; raise the errors of `settle_facts`."""
        layer = self._layer
        if layer is None or ask_facts(layer) is None:
            return
        settle_facts(self._viewer, layer, seconds)
        self._show_applied(layer)

    def _tell(self, layer: Any, future: Future[Any]) -> None:
        """Hand the facts over to the window's thread."""
        try:
            self._read.emit(layer, future)
        except RuntimeError:
            # The form was closed.
            return

    def _use(self, layer: ImageLayer, future: Future[Any]) -> None:
        if layer is not self._layer or ask_facts(layer) is None:
            return
        try:
            apply_facts(self._viewer, layer, future.result())
        except FoundsegError:
            settle_facts(self._viewer, layer, 0)
        self._show_applied(layer)

    def _show_applied(self, layer: ImageLayer) -> None:
        self._show()
        if applied_facts(layer) is not None:
            self.applied.emit()

    def _undo(self) -> None:
        if self._layer is not None:
            undo_facts(self._viewer, self._layer)
            self._show()
            self.applied.emit()

    def _show(self) -> None:
        given = applied_facts(self._layer)
        notes = notes_of_file(self._layer)
        lines = [] if given is None else [f"From the file: {given.words}"]
        if notes:
            # The notes come from our reader; the layer was opened by napari's.
            lines.append(f"The file, as Worklist, Batch and the command line read it: {'; '.join(notes)}")
        self.words.setText("\n".join(lines))
        self.undo_button.setVisible(given is not None)
        self.setVisible(bool(lines))

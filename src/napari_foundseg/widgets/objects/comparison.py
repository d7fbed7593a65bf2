"""Comparison of the objects with a reference layer, with a list of the errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.measuring.comparison import Comparison, compare
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.message import Message
from napari_foundseg.widgets.controls.rows import labelled_row, wrapping_label
from napari_foundseg.widgets.controls.sortable_table import TableView
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.widgets.editing.labels_history import LabelsHistory

__all__ = ["ComparisonPanel"]


class ComparisonPanel(QWidget):
    """Choice of a reference, scores, and a table of errors; a click on an error moves the view there."""

    #: The user has selected an error; its row.
    chosen = Signal(object)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._history: LabelsHistory | None = None
        self._reference: Labels | None = None
        self._latest = NumpyThread()
        self._latest.done.connect(self._show)
        self.reference = LayerChoice(viewer, Labels, "The Labels layer that is taken as the truth.", follow=False)
        self.reference.combo.setAccessibleName("Reference")
        self.button = QPushButton("Compare")
        self.button.setToolTip("Compare the objects with the reference, pixel by pixel. It goes on after each edit.")
        self.button.clicked.connect(lambda: self.compare())
        self.message = Message(viewer.theme)
        self.figures = wrapping_label("")
        self.figures.setToolTip(
            "AP = tp / (tp + fp + fn), where an object is found if its intersection over union is above a threshold. "
            "mSA is its mean over the thresholds 0.50, 0.55 … 0.95. Dice counts pixels of all objects together."
        )
        self.errors = TableView("Errors", "label")
        self.errors.setMinimumHeight(140)
        self.errors.setToolTip("Click an error to go there.")
        self.errors.chosen.connect(self.chosen)
        self.errors.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (labelled_row("Reference", self.reference), self.message, self.button, self.figures, self.errors):
            layout.addWidget(widget)

    def follow(self, history: LabelsHistory | None) -> None:
        """Compare the objects of another layer; None for no layer."""
        if self._history is not None:
            self._history.stepped.disconnect(self._again)
        self._history = history
        if history is not None:
            history.stepped.connect(self._again)
        self._clear()

    def compare(self) -> None:
        """Compare with the chosen reference; the comparison is repeated after each edit."""
        self._clear()
        reference = self.reference.layer
        if self._history is None or reference is None or reference is self._history.layer:
            self.message.say(str(PromptError("Choose another Labels layer as the reference.")))
            return
        self._reference = reference
        self.figures.setText("Comparing…")
        self._again()

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.follow(None)
        self.reference.disconnect_viewer()

    def _again(self, _step: Any = None) -> None:
        if self._reference is None or self._history is None:
            return
        truth = self._reference
        found = self._history.layer.data
        data = truth.data[0] if truth.multiscale else truth.data
        self._latest.ask(lambda: compare(in_memory(data), found))

    def _show(self, number: int, result: Any) -> None:
        if number != self._latest.number or self._reference is None:
            return
        if isinstance(result, Exception):
            self._clear()
            reason = str(result) if isinstance(result, FoundsegError) else f"The comparison failed: {result}"
            self.message.say(reason)
            return
        self.figures.setText(_in_words(result))
        errors = result.errors.rename(columns={"iou": "IoU"})[["error", "label", "IoU", "reference", "position"]]
        errors[["reference", "label"]] = errors[["reference", "label"]].replace(0, np.nan)
        self.errors.show_table(errors)
        self.errors.show_column(list(errors).index("position"), False)
        self.errors.setVisible(bool(len(errors)))

    def _clear(self) -> None:
        self._reference = None
        self.message.say("")
        self.figures.setText("")
        self.errors.hide()


def _in_words(result: Comparison) -> str:
    matching = result.matching
    kinds = result.errors["error"].value_counts()
    precision = matching.precision
    counts = ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "no errors"
    return (
        f"mSA {precision.mean():.3f}, AP {precision[0]:.3f} at 0.5 and {precision[5]:.3f} at 0.75, "
        f"Dice {matching.dice:.3f}\n"
        f"{len(matching.found)} objects, {len(matching.truth)} in the reference: {counts}"
    )

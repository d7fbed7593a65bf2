"""Deletion of all objects below or above a size or a score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Removal"]

_BELOW = "below"
_ABOVE = "above"
_SCORES = ("certainty", "predicted IoU", "stability", "circularity", "sphericity", "solidity")


class Removal(QWidget):
    """A measurement, a bound, and a button that shows the number of objects that it would delete."""

    #: The user wants to delete objects; their rows.
    wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._table = pd.DataFrame({"label": [], "pixels": []})
        self.measure = QComboBox()
        self.measure.setToolTip("The size or score to decide by.")
        self.measure.setAccessibleName("Size or score")
        self.measure.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.measure.setMinimumContentsLength(10)
        self.side = QComboBox()
        self.side.addItems([_BELOW, _ABOVE])
        self.side.setAccessibleName("Below or above")
        self.side.setToolTip("Whether objects below or above the value are deleted.")
        self.bound = QDoubleSpinBox()
        self.bound.setRange(0, 1e9)
        self.bound.setDecimals(0)
        self.bound.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.bound.setValue(20)
        self.bound.setToolTip("Objects beyond this value are deleted; those with exactly this value stay.")
        self.bound.setAccessibleName("Bound")
        self.button = QPushButton()
        self.button.setToolTip("Delete these objects in one step, which can be undone.")
        self.button.clicked.connect(lambda: self.wanted.emit(self.rows()))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.measure)
        line = QHBoxLayout()
        line.addWidget(self.side)
        line.addWidget(self.bound, 1)
        layout.addLayout(line)
        layout.addWidget(self.button)
        changes: list[Callable[..., object]] = [
            self.measure.currentTextChanged.connect, self.side.currentTextChanged.connect,
            self.bound.valueChanged.connect,
        ]  # fmt: skip
        for connect in changes:
            connect(self._show_count)
        self.measure.currentTextChanged.connect(self._set_decimals)
        self._show_count()

    def show_table(self, table: pd.DataFrame, *, current: bool) -> None:
        """Use another object table; if it is not current, nothing can be deleted."""
        self._table = table
        names = [name for name in map(str, table) if name == "pixels" or name in _SCORES or "(" in name]
        if names != [self.measure.itemText(i) for i in range(self.measure.count())]:
            chosen = self.measure.currentText()
            self.measure.blockSignals(True)
            self.measure.clear()
            self.measure.addItems(names)
            self.measure.setCurrentText(chosen if chosen in names else "pixels")
            self.measure.blockSignals(False)
            self._set_decimals(self.measure.currentText())
        self._show_count()
        if not current:
            self.button.setEnabled(False)

    def rows(self) -> pd.DataFrame:
        """Return the rows of the objects to delete; objects without a value are kept."""
        name = self.measure.currentText()
        if name not in self._table:
            return self._table.iloc[:0]
        values = self._table[name]
        beyond = values < self.bound.value() if self.side.currentText() == _BELOW else values > self.bound.value()
        return self._table[beyond & (self._table["pixels"] > 0)]

    def _set_decimals(self, name: str) -> None:
        self.bound.setDecimals(0 if name == "pixels" else 3)

    def _show_count(self) -> None:
        count = len(self.rows())
        self.button.setText(f"Delete {count} object{'' if count == 1 else 's'}")
        self.button.setEnabled(bool(count))

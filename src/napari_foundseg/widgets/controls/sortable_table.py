"""A sortable table for thousands of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QAbstractItemView, QTableView

from napari_foundseg.core.measuring.columns import plain_name, unit_of
from napari_foundseg.core.measuring.number_text import number_text, size_text

__all__ = ["TableModel", "TableView"]

_NOWHERE = QModelIndex()
#: Columns that hold ids, which are not formatted as amounts.
_IDS = frozenset({"label", "reference"})


class TableModel(QAbstractTableModel):
    """A data frame as a Qt model; Qt requests only the visible cells.

    Parameters
    ----------
    explain : callable
        Returns the help text of a column, by its name.
    """

    def __init__(self, explain: Callable[[str], str]) -> None:
        super().__init__()
        self._explain = explain
        self.table = pd.DataFrame()
        self._columns: list[Any] = []
        self._sorted: tuple[str, bool] | None = None

    def show(self, table: pd.DataFrame) -> None:
        """Show a table, sorted like the previous one.

        Parameters
        ----------
        table : pandas.DataFrame
            The table.
        """
        self.beginResetModel()
        if self._sorted is not None and (name := _same_column(self._sorted[0], table)) is not None:
            ascending = self._sorted[1]
            self._sorted = name, ascending
            table = table.sort_values(name, ascending=ascending, kind="stable", na_position="last")
        self.table = table.reset_index(drop=True)
        self._columns = [self.table[name].to_numpy() for name in self.table]
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = _NOWHERE) -> int:  # noqa: N802 - Qt's name
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self.table)

    def columnCount(self, parent: QModelIndex = _NOWHERE) -> int:  # noqa: N802 - Qt's name
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self._columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return the text, tooltip or alignment of a cell; numbers have about four digits, NaN is an empty text."""
        value = self._columns[index.column()][index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            name = str(self.table.columns[index.column()])
            return _cell_text(value, name, with_unit=role == Qt.ItemDataRole.ToolTipRole)
        if role == Qt.ItemDataRole.TextAlignmentRole and not isinstance(value, str):
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def headerData(  # noqa: N802 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return a column's name, or the explanation of the column as its tooltip."""
        if orientation == Qt.Orientation.Horizontal and section < len(self._columns):
            name = str(self.table.columns[section])
            if role == Qt.ItemDataRole.DisplayRole:
                return name
            if role == Qt.ItemDataRole.ToolTipRole:
                return self._explain(name) or name
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; empty cells come last in both orders."""
        if 0 <= column < len(self._columns):
            self._sorted = str(self.table.columns[column]), order == Qt.SortOrder.AscendingOrder
            self.show(self.table)


class TableView(QTableView):
    """A view of a table in which one row can be selected, by mouse or keyboard.

    Parameters
    ----------
    key : str
        The column that identifies the selected row when the table changes.
    explain : callable
        Returns the help text of a column, by its name; shown as the tooltip of its header.
    """

    #: The user has selected a row, a `pandas.Series`.
    chosen = Signal(object)

    def __init__(self, name: str, key: str, explain: Callable[[str], str] = str) -> None:
        super().__init__()
        self._key = key
        self._value: Any = None
        self._silent = False
        self.model_ = TableModel(explain)
        self.setModel(self.model_)
        self.setAccessibleName(name)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setWordWrap(False)
        rows = self.verticalHeader()
        columns = self.horizontalHeader()
        selection = self.selectionModel()
        assert rows is not None
        assert columns is not None
        assert selection is not None
        rows.hide()
        rows.setDefaultSectionSize(self.fontMetrics().height() + 6)
        columns.setResizeContentsPrecision(20)
        self.setSortingEnabled(True)
        columns.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        selection.currentRowChanged.connect(self._row_changed)
        self.model_.modelAboutToBeReset.connect(self._before_reset)
        self.model_.modelReset.connect(self._after_reset)

    def show_table(self, table: pd.DataFrame) -> None:
        """Show another table; selection and scroll position are kept.

        Parameters
        ----------
        table : pandas.DataFrame
            The table.
        """
        new = list(table) != list(self.model_.table)
        self.model_.show(table)
        if new:
            self.resizeColumnsToContents()

    def show_column(self, column: int, shown: bool) -> None:
        """Show or hide a column; a shown column becomes as wide as its texts."""
        if shown == self.isColumnHidden(column):
            self.setColumnHidden(column, not shown)
            self.resizeColumnToContents(column)

    def select(self, value: Any) -> None:
        """Select the row with a value in the key column, without emitting `chosen`.

        If no row has the value, nothing is selected.
        """
        self._value = value
        table = self.model_.table
        rows = table.index[table[self._key] == value] if self._key in table else []
        self._silent = True
        if len(rows):
            self.setCurrentIndex(self.model_.index(int(rows[0]), max(0, self.columnAt(0))))
        else:
            self.clearSelection()
            self.setCurrentIndex(QModelIndex())
        self._silent = False

    def _row_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if not self._silent and current.isValid():
            row = self.model_.table.iloc[current.row()]
            self._value = row[self._key]
            self.chosen.emit(row)

    def _before_reset(self) -> None:
        self._silent = True
        self._places = [(bar, bar.value()) for bar in (self.verticalScrollBar(), self.horizontalScrollBar()) if bar]

    def _after_reset(self) -> None:
        self.select(self._value)
        for bar, value in self._places:
            bar.setValue(value)


def _same_column(name: str, table: pd.DataFrame) -> Any:
    """Return the column with the same name in any unit, such as ``area (µm²)``; None if there is none."""
    plain = plain_name(name)
    return next((column for column in table if column == name or plain_name(str(column)) == plain), None)


def _cell_text(value: Any, column: str, *, with_unit: bool) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if value is None or value != value:  # NaN
        return ""
    if column in _IDS and float(value).is_integer():
        return str(int(value))
    unit = unit_of(column)
    return size_text(float(value), unit) if unit and with_unit else number_text(value)

"""The table of models: one line for each, with search and filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem

from napari_foundseg.models.downloads.size_text import size_text
from napari_foundseg.widgets.models.model_lines import ModelLine

__all__ = ["ModelTable"]

_COLUMNS = {
    "Model": "Name of the model; the tooltip says what it is good for.",
    "State": "Whether its weights are on this computer, and what is needed to get them.",
    "Size": "Size of the weights.",
    "Tasks": "Forms that can use it.",
    "Weights' licence": "Licence of the weights; unknown where no source states it.",
    "Code's licence": "Licence of the authors' code.",
    "Here": "Measured on this computer: encoding an image, and a click. Press Time it to measure.",
}
_STATE = 1
_SIZE = 2
_HERE = 6
#: Least width in pixels of the first column.
_NAME_WIDTH = 118
#: Width at which names of one family can be told apart, since they differ at their ends.
_WHOLE_NAMES = 190
#: Greatest width of the column of states.
_STATE_WIDTH = 130
_SORT = Qt.ItemDataRole.UserRole + 1


class _Item(QTreeWidgetItem):
    """A table line that sorts by numbers in columns that have them, else by text."""

    def __lt__(self, other: Any) -> bool:
        tree = self.treeWidget()
        column = 0 if tree is None else tree.sortColumn()
        mine, others = self.data(column, _SORT), other.data(column, _SORT)
        if mine is not None and others is not None:
            return bool(mine < others)
        return self.text(column).casefold() < str(other.text(column)).casefold()


class ModelTable(QTreeWidget):
    """One line for each model; one of them is chosen."""

    #: Another model was chosen; its name, empty for none.
    chosen = Signal(str)

    def __init__(self, titles: Mapping[str, str]) -> None:
        super().__init__()
        self._titles = titles
        self._items: dict[str, _Item] = {}
        self._lines: dict[str, ModelLine] = {}
        self._filters = ("", "", "")
        self.setAccessibleName("Models")
        self.setToolTip("All models. Choose one to see what it is good for, and to download, check or remove it.")
        self.setHeaderLabels(list(_COLUMNS))
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setAllColumnsShowFocus(True)
        self.setStyleSheet("QTreeView::item { padding: 2px; }")
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setMinimumHeight(170)
        self.setSortingEnabled(True)
        header = self.header()
        head = self.headerItem()
        assert header is not None
        assert head is not None
        for column, text in enumerate(_COLUMNS.values()):
            head.setToolTip(column, text)
        header.setStretchLastSection(False)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.currentItemChanged.connect(lambda *_: self.chosen.emit(self.name))

    @property
    def name(self) -> str:
        """Name of the chosen model; empty for none."""
        item = self.currentItem()
        return "" if item is None or item.isHidden() else str(item.data(0, Qt.ItemDataRole.UserRole))

    def shown(self) -> list[str]:
        """Return the names of the models that pass the filters, from top to bottom."""
        items = [self.topLevelItem(at) for at in range(self.topLevelItemCount())]
        return [str(item.data(0, Qt.ItemDataRole.UserRole)) for item in items if item and not item.isHidden()]

    def line(self, name: str) -> ModelLine | None:
        """Return the line of a model; None if it is not in the table."""
        return self._lines.get(name)

    def fill(self, lines: Sequence[ModelLine]) -> None:
        """Show models in the order of `lines`; the chosen model stays chosen."""
        before = self.name
        new = [line.row.name for line in lines]
        if new != list(self._lines):
            self.blockSignals(True)
            self.clear()
            self._items = {}
            for name in new:
                self._items[name] = item = _Item()
                item.setData(0, Qt.ItemDataRole.UserRole, name)
                self.addTopLevelItem(item)
            self.blockSignals(False)
        self._lines = {line.row.name: line for line in lines}
        for line in lines:
            self._show(line)
        self._fit_columns()
        self.filter(*self._filters)
        if before:
            self.choose(before)

    def show_line(self, line: ModelLine) -> None:
        """Update the line of a model."""
        if line.row.name in self._items:
            self._lines[line.row.name] = line
            self._show(line)
            if min(self.sizeHintForColumn(_STATE), _STATE_WIDTH) > self.columnWidth(_STATE):
                self._fit_columns()

    def filter(self, text: str, task: str, modality: str) -> None:
        """Show only the models that match; if the chosen one is hidden, choose the first that is shown.

        Unless the user has sorted the table, models whose names match the search text come first.
        """
        self._filters = (text, task, modality)
        self._rank(text)
        for name, item in self._items.items():
            item.setHidden(not self._lines[name].matches(text, task, modality, self._titles))
        if not self.name:
            shown = self.shown()
            self.choose(shown[0] if shown else "")

    def _rank(self, text: str) -> None:
        header, root = self.header(), self.invisibleRootItem()
        assert header is not None
        assert root is not None
        if header.sortIndicatorSection() != -1:
            return
        wanted = [self._items[name] for name in sorted(self._lines, key=lambda name: self._lines[name].distance(text))]
        if wanted == [self.topLevelItem(at) for at in range(self.topLevelItemCount())]:
            return
        current = self.currentItem()
        self.blockSignals(True)
        root.takeChildren()
        # One by one: a tree that can be sorted would take them in reverse.
        for item in wanted:
            self.addTopLevelItem(item)
        if current is not None:
            self.setCurrentItem(current)
        self.blockSignals(False)
        self.scrollToTop()

    def choose(self, name: str) -> None:
        """Choose a model, or none if it is not shown."""
        item = self._items.get(name)
        if item is None or item.isHidden():
            self.setCurrentItem(None)
            self.chosen.emit("")
            return
        self.setCurrentItem(item)
        self.scrollToItem(item)

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Give the column of names the width that the state and the size leave."""
        super().resizeEvent(event)
        self._fit_names()

    def _show(self, line: ModelLine) -> None:
        item = self._items[line.row.name]
        row = line.row
        tasks = ", ".join(self._titles[name] for name in line.tasks)
        texts = (
            row.title,
            line.state,
            size_text(row.size_mb),
            tasks,
            row.weights_licence,
            row.code_licence,
            line.times,
        )
        helps = (f"{row.name}: {row.good_for}", line.help, size_text(row.size_mb), tasks, "", "", line.times)
        for column, (text, help_text) in enumerate(zip(texts, helps, strict=True)):
            if item.text(column) != text:
                item.setText(column, text)
            item.setToolTip(column, help_text or text)
        item.setData(_SIZE, _SORT, row.size_mb)
        item.setTextAlignment(_SIZE, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        font = item.font(0)
        if font.italic() == line.here:
            font.setItalic(not line.here)
            item.setFont(0, font)

    def _fit_columns(self) -> None:
        for column in range(_STATE, len(_COLUMNS)):
            self.resizeColumnToContents(column)
        self.setColumnWidth(_STATE, min(self.columnWidth(_STATE), _STATE_WIDTH))
        self.setColumnHidden(_HERE, not any(line.times for line in self._lines.values()))
        self._fit_names()

    def _fit_names(self) -> None:
        view = self.viewport()
        if view is not None:
            left = view.width() - self.columnWidth(_STATE)
            # In a narrow dock the size is only visible after scrolling; the button shows it too.
            beside_size = left - self.columnWidth(_SIZE)
            self.setColumnWidth(0, beside_size if beside_size >= _WHOLE_NAMES else max(_NAME_WIDTH, left))

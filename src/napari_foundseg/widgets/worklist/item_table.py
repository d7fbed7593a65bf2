"""Tables of images and their states, for *Worklist* and *Batch*."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem

from napari_foundseg.io.worklist import WorklistItem

__all__ = ["ItemTable", "WorklistTable"]

#: Minimum width of the column of names, in pixels.
_NAME_WIDTH = 130
_STATE_HELP = {
    "new": "It has no labels yet.",
    "automatic": "It has labels that were not edited here, such as those of a run.",
    "in work": "Its labels were edited.",
    "done": "Marked as done.",
    "missing": "Its file no longer exists.",
    "unreadable": "Its file cannot be read",
}


class ItemTable(QTreeWidget):
    """A table of images; a double-click or Enter opens one.

    Parameters
    ----------
    *columns : str
        Headers of the columns after the image's name; columns of numbers come last.
    """

    #: The user wants to open an image; its row.
    wanted = Signal(int)

    def __init__(self, *columns: str) -> None:
        super().__init__()
        self.setAccessibleName("Images")
        self.setHeaderLabels(["Image", *columns])
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setStyleSheet("QTreeView::item { padding: 2px; }")
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setMinimumHeight(160)
        self.setToolTip("Double-click an image, or press Enter on it, to open it.")
        header = self.header()
        assert header is not None
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        for column in range(1, len(columns) + 1):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        header.sectionResized.connect(lambda column, *_: self._fit_names() if column else None)
        self.itemActivated.connect(lambda row, _column: self.wanted.emit(self.indexOfTopLevelItem(row)))

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Adapt the width of the names to the table."""
        super().resizeEvent(event)
        self._fit_names()

    def _fit_names(self) -> None:
        """Give the names the width that the other columns leave; below a minimum, the table scrolls."""
        view = self.viewport()
        if view is None:
            return
        others = sum(self.columnWidth(column) for column in range(1, self.columnCount()))
        self.setColumnWidth(0, max(_NAME_WIDTH, view.width() - others))

    def make_rows(self, count: int) -> None:
        """Replace all rows with empty ones."""
        self.clear()
        self.addTopLevelItems([QTreeWidgetItem() for _ in range(count)])

    def show_row(self, row: int, texts: Sequence[str], helps: Sequence[str], *, opened: bool = False) -> None:
        """Set texts and tooltips of a row; the open image is bold."""
        line = self.topLevelItem(row)
        assert line is not None
        for column, (text, help_text) in enumerate(zip(texts, helps, strict=True)):
            line.setText(column, text)
            line.setToolTip(column, help_text)
            if line.font(column).bold() != opened:
                font = line.font(column)
                font.setBold(opened)
                line.setFont(column, font)
            if column > 1:
                line.setTextAlignment(column, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if opened:
            self.setCurrentItem(line)
            self.scrollToItem(line)


class WorklistTable(ItemTable):
    """The images of a worklist, with state and number of objects."""

    def __init__(self) -> None:
        super().__init__("State", "Objects")

    def fill(self, items: Sequence[WorklistItem]) -> None:
        """Replace all images in the table."""
        self.make_rows(len(items))
        for row, item in enumerate(items):
            self.show_item(row, item)

    def show_item(self, row: int, item: WorklistItem, *, opened: bool = False, why_unreadable: str = "") -> None:
        """Show the state of an image."""
        state = "missing" if item.missing else "unreadable" if why_unreadable else item.record.state
        state_help = f"{_STATE_HELP[state]}: {why_unreadable}" if state == "unreadable" else _STATE_HELP[state]
        count = item.record.objects
        texts = (item.name, state, "" if count is None else str(count))
        helps = (str(item.path or item.name), state_help, f"Number of objects in {item.labels}, as last saved.")
        self.show_row(row, texts, helps, opened=opened)
        line = self.topLevelItem(row)
        assert line is not None
        line.setDisabled(item.missing)

"""The table of a worklist: its images, how far each is, and which is open."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem

from napari_foundseg.io.worklist import Item

__all__ = ["ItemTable"]

_STATE_HELP = {
    "new": "Nobody has worked on it, and it has no labels.",
    "automatic": "Its labels come from a run or from elsewhere; nobody has changed them here.",
    "in work": "Its labels were changed by hand.",
    "done": "Marked as done.",
    "missing": "Its file was here before and is not any more.",
}


class ItemTable(QTreeWidget):
    """Images from top to bottom; double-click or Enter asks for one."""

    #: An image is to be opened; its row.
    wanted = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Images")
        self.setHeaderLabels(["Image", "State", "Objects"])
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setStyleSheet("QTreeView::item { padding: 2px; }")
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setMinimumHeight(160)
        self.setToolTip("Double-click an image, or press Enter on it, to open it.")
        header = self.header()
        assert header is not None
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.itemActivated.connect(lambda row, _column: self.wanted.emit(self.indexOfTopLevelItem(row)))

    def fill(self, items: Sequence[Item]) -> None:
        """Show other images.

        Parameters
        ----------
        items : sequence of Item
            From top to bottom.
        """
        self.clear()
        self.addTopLevelItems([QTreeWidgetItem() for _ in items])
        for row, item in enumerate(items):
            self.show_item(row, item)

    def show_item(self, row: int, item: Item, *, opened: bool = False) -> None:
        """Show how far an image is.

        Parameters
        ----------
        row : int
            Its row.
        item : Item
            The image.
        opened : bool
            Whether it is the open one.
        """
        line = self.topLevelItem(row)
        assert line is not None
        state = "missing" if item.missing else item.record.state
        count = item.record.objects
        for column, text in enumerate((item.name, state, "" if count is None else str(count))):
            line.setText(column, text)
            font = line.font(column)
            font.setBold(opened)
            line.setFont(column, font)
        line.setToolTip(0, str(item.path or item.name))
        line.setToolTip(1, _STATE_HELP[state])
        line.setToolTip(2, f"Objects in {item.labels}, as last saved.")
        line.setTextAlignment(2, Qt.AlignmentFlag.AlignRight)
        line.setDisabled(item.missing)
        if opened:
            self.setCurrentItem(line)
            self.scrollToItem(line)

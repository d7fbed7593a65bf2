"""The list of clusters, and buttons that edit the selected ones."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QGridLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.clusters.clusters import Edit

__all__ = ["ClusterList"]

_ID = Qt.ItemDataRole.UserRole


class ClusterList(QWidget):
    """Clusters with colours, names and shares, and buttons that edit the selected ones."""

    #: The user has edited clusters; an `Edit`.
    edited = Signal(object)
    #: The user wants to undo the last edit.
    undone = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._filling = False
        self.list = QListWidget()
        self.list.setAccessibleName("Clusters")
        self.list.setToolTip(
            "Click a cluster in the image or here to select it; Ctrl or Shift for several. Double-click a name to "
            "change it; the box shows or hides it."
        )
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setFixedHeight(150)
        self.list.itemChanged.connect(self._item_changed)
        self.list.itemSelectionChanged.connect(self._enable_buttons)
        self.merge = self._make_button(
            "Merge", "Merge the selected clusters into one.", lambda: self._emit_edit("merge")
        )
        self.split = self._make_button("Split", "Split the selected cluster in two.", lambda: self._emit_edit("split"))
        self.colour = self._make_button("Colour…", "Choose the selected cluster's colour.", self._choose_colour)
        self.undo = self._make_button("Undo", "Undo the last change.", self.undone.emit)
        grid = QGridLayout()
        grid.setSpacing(3)
        for i, button in enumerate((self.merge, self.split, self.colour, self.undo)):
            grid.addWidget(button, 0, i)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list)
        layout.addLayout(grid)
        self._enable_buttons()

    @property
    def selected(self) -> tuple[int, ...]:
        """Numbers of the selected clusters, from top to bottom."""
        return tuple(int(item.data(_ID)) for item in self.items() if item.isSelected())

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of all clusters, from top to bottom."""
        return tuple(int(item.data(_ID)) for item in self.items())

    def items(self) -> list[QListWidgetItem]:
        """Return the list's entries."""
        return [item for at in range(self.list.count()) if (item := self.list.item(at)) is not None]

    def name_of(self, number: int) -> str:
        """Return the name of a cluster; its number as text if it is not in the list."""
        return next((item.text() for item in self.items() if item.data(_ID) == number), str(number))

    def select(self, number: int, *, more: bool = False) -> None:
        """Select a cluster, with `more` in addition to others; an unknown number clears the selection unless `more`."""
        if not more:
            self.list.clearSelection()
        for item in self.items():
            if item.data(_ID) == number:
                item.setSelected(not (more and item.isSelected()))
                self.list.scrollToItem(item)

    def show_classes(self, classes: ClassTable, hidden: Iterable[int], undoable: bool) -> None:
        """Show clusters; hidden ones are unchecked."""
        self._filling = True
        chosen = self.selected
        unseen = set(hidden)
        self.list.clear()
        whole = sum(row.area for row in classes) or 1
        for row in classes:
            item = QListWidgetItem(row.name)
            pixmap = QPixmap(14, 14)
            pixmap.fill(QColor(row.colour))
            icon = QIcon(pixmap)
            # Otherwise Qt tints the icon of a selected row.
            icon.addPixmap(pixmap, QIcon.Mode.Selected)
            item.setIcon(icon)
            item.setData(_ID, row.id)
            item.setToolTip(f"Cluster {row.id}: {row.area / whole:.1%} of the pixels")
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked if row.id in unseen else Qt.CheckState.Checked)
            self.list.addItem(item)
            item.setSelected(row.id in chosen)
        self.undo.setEnabled(undoable)
        self._filling = False
        self._names = {row.id: row.name for row in classes}
        self._shown = {row.id for row in classes} - unseen
        self._colours = {row.id: row.colour for row in classes}
        self._enable_buttons()

    def _make_button(self, text: str, help_text: str, action: object) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(help_text)
        button.setMinimumWidth(40)
        button.clicked.connect(lambda: action())  # type: ignore[operator]
        return button

    def _enable_buttons(self) -> None:
        count = len(self.list.selectedItems())
        self.merge.setEnabled(count > 1)
        self.split.setEnabled(count == 1)
        self.colour.setEnabled(count == 1)

    def _emit_edit(self, kind: str) -> None:
        self.edited.emit(Edit.model_validate({"kind": kind, "clusters": self.selected}))

    def _choose_colour(self) -> None:
        number = self.selected[0]
        chosen = QColorDialog.getColor(QColor(self._colours[number]), self, "Colour of the cluster")
        if chosen.isValid():
            self.edited.emit(Edit(kind="recolour", clusters=(number,), colour=chosen.name()))

    def _item_changed(self, item: QListWidgetItem) -> None:
        if self._filling:
            return
        number = int(item.data(_ID))
        shown = item.checkState() == Qt.CheckState.Checked
        if shown != (number in self._shown):
            self.edited.emit(Edit(kind="show" if shown else "hide", clusters=(number,)))
        elif item.text().strip() and item.text() != self._names[number]:
            self.edited.emit(Edit(kind="rename", clusters=(number,), name=item.text().strip()))

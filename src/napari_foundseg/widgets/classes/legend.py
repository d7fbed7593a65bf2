"""The legend of classes: a table in the form, and a panel on the canvas."""

from __future__ import annotations

from contextlib import suppress
from html import escape

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHeaderView,
    QLabel,
    QMainWindow,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_foundseg.core.classes.class_table import ClassTable

__all__ = ["CanvasLegend", "Legend"]

_NAME, _COLOUR, _COUNT, _AREA = range(4)
#: Number of rows that are shown before the table scrolls.
_ROWS = 8
#: Maximum number of lines on the canvas.
_LINES = 14
_PANEL = "foundseg legend"


class Legend(QWidget):
    """The classes as a table: tick to show, double-click a name or colour to change it, select several to merge."""

    #: The user has shown or hidden a class: its number, and whether it is shown.
    shown = Signal(int, bool)
    #: The user has renamed a class: its number and new name.
    renamed = Signal(int, str)
    #: The user has changed the colour of a class: its number and ``#rrggbb``.
    recoloured = Signal(int, str)
    #: The user has merged classes: the numbers of the others, and of the one that stays.
    merged = Signal(list, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.classes = ClassTable()
        self.table = QTableWidget(0, 4)
        self.table.setHorizontalHeaderLabels(["Class", "", "Objects", "Area (px)"])
        self.table.setAccessibleName("Classes")
        self.table.setToolTip(
            "Use the check boxes to show or hide classes. Double-click a name or a colour to change it."
        )
        header = self.table.horizontalHeader()
        numbers = self.table.verticalHeader()
        assert header is not None
        assert numbers is not None
        numbers.hide()
        self._header = header
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(20)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.merge_button = QPushButton("Merge selected classes")
        self.merge_button.setToolTip("Merge the selected classes into the topmost one.")
        self.merge_button.setEnabled(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addWidget(self.merge_button)
        self.table.itemChanged.connect(self._item_changed)
        self.table.cellDoubleClicked.connect(self._double_clicked)
        self.table.itemSelectionChanged.connect(lambda: self.merge_button.setEnabled(len(self._selected_rows()) > 1))
        self.merge_button.clicked.connect(self._merge_selected)
        self.hide()

    def show_classes(self, classes: ClassTable, hidden: frozenset[int] = frozenset()) -> None:
        """Show a class table; hidden classes are unchecked."""
        self.classes = classes
        self.table.blockSignals(True)
        self.table.setRowCount(len(classes))
        for i, row in enumerate(classes):
            name = QTableWidgetItem(row.name)
            name.setFlags(name.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            name.setCheckState(Qt.CheckState.Unchecked if row.id in hidden else Qt.CheckState.Checked)
            name.setToolTip(f"{row.name} ({row.kind})")
            colour = QTableWidgetItem("")
            colour.setBackground(QBrush(QColor(row.colour)))
            colour.setToolTip(row.colour)
            numbers = [str(row.count) if row.kind == "thing" else "-", str(row.area)]
            for column, item in enumerate([name, colour, *map(QTableWidgetItem, numbers)]):
                if column != _NAME:
                    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                if column in (_COUNT, _AREA):
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(i, column, item)
        self.table.blockSignals(False)
        height = self._header.sizeHint().height() + 4
        self.table.setFixedHeight(height + self.table.rowHeight(0) * max(1, min(len(classes), _ROWS)))
        self.setVisible(len(classes) > 0)

    def _item_changed(self, item: QTableWidgetItem) -> None:
        if item.column() != _NAME:
            return
        row = self.classes.rows[item.row()]
        text = " ".join(item.text().split())
        if text != row.name:
            if text:
                self.renamed.emit(row.id, text)
            else:
                item.setText(row.name)
            return
        self.shown.emit(row.id, item.checkState() == Qt.CheckState.Checked)

    def _double_clicked(self, row: int, column: int) -> None:
        if column != _COLOUR:
            return
        entry = self.classes.rows[row]
        colour = QColorDialog.getColor(QColor(entry.colour), self, f"Colour of {entry.name}")
        if colour.isValid():
            self.recoloured.emit(entry.id, colour.name())

    def _selected_rows(self) -> list[int]:
        return sorted({index.row() for index in self.table.selectedIndexes()})

    def _merge_selected(self) -> None:
        numbers = [self.classes.rows[row].id for row in self._selected_rows()]
        if len(numbers) > 1:
            self.merged.emit(numbers[1:], numbers[0])


class CanvasLegend:
    """A panel with the classes' colours and names in the corner of the canvas.

    Parameters
    ----------
    widget : QWidget
        A widget in the same window as the canvas.
    """

    def __init__(self, widget: QWidget) -> None:
        self._widget = widget
        self.label: QLabel | None = None

    def show(self, classes: ClassTable, hidden: frozenset[int] = frozenset()) -> None:
        """Show the classes that have pixels and are not hidden."""
        rows = [row for row in classes if row.area and row.id not in hidden]
        canvas = _canvas_of(self._widget)
        if not rows or canvas is None:
            self.clear()
            return
        # One panel per window: that of the latest result.
        for other in _find_panels(canvas):
            other.hide()
        if self.label is None:
            self.label = QLabel(canvas)
            self.label.setObjectName(_PANEL)
            self.label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            self.label.setStyleSheet(
                "QLabel { background: rgba(0, 0, 0, 150); color: white; padding: 4px 6px; border-radius: 3px; }"
            )
        lines = [f'<span style="color:{row.colour}">&#9632;</span> {escape(row.name)}' for row in rows[:_LINES]]
        if len(rows) > _LINES:
            lines.append(f"and {len(rows) - _LINES} more")
        self.label.setText("<br>".join(lines))
        self.label.adjustSize()
        self.label.move(12, 12)
        self.label.show()
        self.label.raise_()

    def clear(self) -> None:
        """Remove the panel, and show that of the previous result."""
        if self.label is None:
            return
        label = self.label
        self.label = None
        with suppress(RuntimeError):  # the window was closed, together with the panel
            self._remove(label)

    def _remove(self, label: QLabel) -> None:
        shown = label.isVisible()
        canvas = label.parentWidget()
        label.setObjectName("")
        label.hide()
        label.deleteLater()
        rest = _find_panels(canvas) if canvas is not None else []
        if shown and rest:
            rest[-1].show()
            rest[-1].raise_()


def _find_panels(canvas: QWidget) -> list[QLabel]:
    """Return the panels of all results, in the order in which they were made."""
    return canvas.findChildren(QLabel, _PANEL)


def _canvas_of(widget: QWidget) -> QWidget | None:
    """Return the widget around the canvas; the parent of a floating dock is the window, too."""
    parent: QWidget | None = widget
    while parent is not None and not isinstance(parent, QMainWindow):
        parent = parent.parentWidget()
    return parent.centralWidget() if isinstance(parent, QMainWindow) else None

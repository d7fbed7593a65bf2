"""List items with wrapped texts: Qt's own drawing cuts off ends that need one more line."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QModelIndex, QRect, QSize, Qt
from qtpy.QtGui import QFontMetrics, QPainter, QPalette
from qtpy.QtWidgets import QApplication, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

__all__ = ["WrappedItems"]

#: Pixels on each side of a text.
_MARGIN = 4
_WRAPPED = int(Qt.TextFlag.TextWordWrap)


class WrappedItems(QStyledItemDelegate):
    """A delegate that measures and draws texts for the same width, that of the list."""

    def __init__(self, view: QListView) -> None:
        super().__init__(view)
        self._view = view
        # Without word wrap, Qt does not lay out a list again when its width changes.
        view.setWordWrap(True)
        view.setResizeMode(QListView.ResizeMode.Adjust)
        view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:  # noqa: N802 - Qt's name
        """Return the width of the list, and the height of the text wrapped to that width."""
        viewport = self._view.viewport()
        width = 0 if viewport is None else viewport.width() - 2 * self._view.spacing()
        room = QRect(0, 0, max(1, width - 2 * _MARGIN), 100_000)
        text = QFontMetrics(option.font).boundingRect(room, _WRAPPED, _text(index))
        return QSize(width, text.height() + 2)

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw the item without its text in the widget's style, then the wrapped text."""
        assert painter is not None
        shown = QStyleOptionViewItem(option)
        self.initStyleOption(shown, index)
        shown.text = ""
        style: Any = self._view.style() or QApplication.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, shown, painter, self._view)
        painter.save()
        painter.setFont(shown.font)
        painter.setPen(self._view.palette().color(QPalette.ColorRole.Text))
        painter.drawText(shown.rect.adjusted(_MARGIN, 1, -_MARGIN, 0), _WRAPPED, _text(index))
        painter.restore()


def _text(index: QModelIndex) -> str:
    return str(index.data(Qt.ItemDataRole.DisplayRole) or "")

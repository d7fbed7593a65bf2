"""Helpers for the rows of a form and their text."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

__all__ = ["below_each_other", "labelled_row", "link_html", "side_by_side", "wrapping_label"]

_LABEL_WIDTH = 62


def labelled_row(text: str, *widgets: QWidget) -> QWidget:
    """Return a row with a label and widgets; the label's shortcut focuses the first widget."""
    label = QLabel(text)
    label.setMinimumWidth(_LABEL_WIDTH)
    label.setAlignment(Qt.AlignmentFlag.AlignTop)
    label.setContentsMargins(0, 4, 0, 0)
    label.setBuddy(widgets[0])
    return side_by_side(label, *widgets)


def side_by_side(*widgets: QWidget) -> QWidget:
    """Return a row of widgets; labels are only as wide as they need to be."""
    row = QWidget()
    line = QHBoxLayout(row)
    line.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        line.addWidget(widget, 0 if isinstance(widget, QLabel) else 1)
    return row


def below_each_other(*widgets: QWidget) -> QWidget:
    """Return a column of widgets without margins."""
    column = QWidget()
    layout = QVBoxLayout(column)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return column


def wrapping_label(text: str) -> QLabel:
    """Return a label that wraps and never widens its form."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def link_html(address: str, colour: str, longest: int) -> str:
    """Return a link as HTML; an address longer than `longest` characters is shown without its middle."""
    shown = address.partition("://")[2]
    if len(shown) > longest:
        host, _, path = shown.partition("/")
        shown = f"{host}/…/{path.rpartition('/')[2]}"
    whole = escape(address)
    return f'<a href="{whole}" style="color: {colour}" title="{whole}">{escape(shown)}</a>'

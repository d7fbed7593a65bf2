"""Rows of a form."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

__all__ = ["labelled", "quiet_label", "side_by_side"]

_LABEL_WIDTH = 62


def labelled(text: str, *widgets: QWidget) -> QWidget:
    """Return widgets behind a label.

    Parameters
    ----------
    text : str
        The label, which takes the keyboard to the first widget.
    *widgets : QWidget
        From left to right.

    Returns
    -------
    QWidget
        The row.
    """
    label = QLabel(text)
    label.setMinimumWidth(_LABEL_WIDTH)
    label.setAlignment(Qt.AlignmentFlag.AlignTop)
    label.setContentsMargins(0, 4, 0, 0)
    label.setBuddy(widgets[0])
    return side_by_side(label, *widgets)


def side_by_side(*widgets: QWidget) -> QWidget:
    """Return widgets in one row.

    Parameters
    ----------
    *widgets : QWidget
        From left to right; labels take no more width than they need.

    Returns
    -------
    QWidget
        The row.
    """
    row = QWidget()
    line = QHBoxLayout(row)
    line.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        line.addWidget(widget, 0 if isinstance(widget, QLabel) else 1)
    return row


def quiet_label(text: str) -> QLabel:
    """Return a label that wraps and never widens its form.

    Parameters
    ----------
    text : str
        What it says.

    Returns
    -------
    QLabel
        The label.
    """
    label = QLabel(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label

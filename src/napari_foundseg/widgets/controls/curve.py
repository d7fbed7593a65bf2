"""A small plot of the loss during a fit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from qtpy.QtCore import QPointF, QSize
from qtpy.QtGui import QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

__all__ = ["Curve"]

_HEIGHT = 64
#: Greatest number of points; longer series are averaged.
_POINTS = 200


class Curve(QWidget):
    """A line plot of values from left to right, with the newest last."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Loss")
        self.setToolTip("The loss of each step. It falls as similar parts of the images get similar codes.")

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the preferred size."""
        return QSize(200, _HEIGHT)

    def show_values(self, values: Sequence[float]) -> None:
        """Draw a series of values; a long series is averaged."""
        each = max(1, len(values) // _POINTS)
        chunks = [values[i : i + each] for i in range(0, len(values), each)]
        self.values = [sum(chunk) / len(chunk) for chunk in chunks]
        self.update()

    def paintEvent(self, _event: Any) -> None:  # noqa: N802 - Qt's name
        """Draw the curve and the newest value."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().windowText().color()
        faint = self.palette().mid().color()
        painter.setPen(QPen(faint, 1))
        painter.drawRect(0, 0, self.width() - 1, self.height() - 1)
        if len(self.values) < 2:
            return
        low = min(self.values)
        high = max(self.values)
        extent = high - low or 1.0
        across = (self.width() - 12) / (len(self.values) - 1)
        down = self.height() - 14
        points = [QPointF(6 + i * across, 7 + down * (high - v) / extent) for i, v in enumerate(self.values)]
        painter.setPen(QPen(self.palette().highlight().color(), 2))
        for one, other in pairwise(points):
            painter.drawLine(one, other)
        painter.setPen(text)
        words = f"loss {self.values[-1]:.3f}"
        width = painter.fontMetrics().horizontalAdvance(words)
        painter.drawText(QPointF(self.width() - width - 8, 6 + painter.fontMetrics().ascent()), words)

"""A strip with the confidence of each slice."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QRectF, QSize, Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_foundseg.widgets.controls.colours import NEGATIVE, POSITIVE

__all__ = ["ConfidenceStrip"]

_HEIGHT = 40


class ConfidenceStrip(QWidget):
    """A bar for each slice, as high as the lowest confidence of its objects; a click jumps to the slice."""

    #: The slice that the user has clicked.
    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        #: The lowest confidence in each slice that is done, 0 to 1.
        self.confidence: dict[int, float] = {}
        #: Slices that the user has marked.
        self.marked: set[int] = set()
        self.count = 0
        self.current = 0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Confidence by slice")
        self.setToolTip(
            "Confidence (predicted IoU) of each slice, of the least certain object in it; marked slices have a dot. "
            "Click a bar, or press the left and right keys, to jump to a slice."
        )

    @property
    def worst(self) -> int | None:
        """The slice with the lowest confidence among those that are not marked; None if there is none."""
        known = {at: value for at, value in self.confidence.items() if at not in self.marked}
        return min(known, key=lambda at: (known[at], at)) if known else None

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the preferred size."""
        return QSize(200, _HEIGHT)

    def show_slices(self, count: int, confidence: dict[int, float], marked: set[int], current: int) -> None:
        """Show the slices of an axis."""
        self.count = count
        self.confidence = confidence
        self.marked = marked
        self.current = current
        self.update()

    def slice_at(self, x: float) -> int:
        """Return the slice at a horizontal position in the strip."""
        return max(0, min(self.count - 1, int(x * self.count / max(1, self.width()))))

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Jump to the clicked slice."""
        if self.count:
            self.chosen.emit(self.slice_at(event.position().x()))

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Jump to the previous or next slice."""
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(event.key())
        if step is None or not self.count:
            super().keyPressEvent(event)
            return
        self.chosen.emit(max(0, min(self.count - 1, self.current + step)))

    def paintEvent(self, _event: Any) -> None:  # noqa: N802 - Qt's name
        """Draw the bars."""
        painter = QPainter(self)
        painter.setPen(QPen(self.palette().mid().color(), 1))
        painter.drawRect(0, 0, self.width() - 1, self.height() - 1)
        if not self.count:
            return
        wide = self.width() / self.count
        high = self.height() - 8
        for at, value in self.confidence.items():
            colour = QColor(POSITIVE if value >= 0.8 else NEGATIVE)
            painter.fillRect(
                QRectF(at * wide, self.height() - 1 - high * value, max(1.0, wide - 1), high * value), colour
            )
        painter.setBrush(self.palette().windowText())
        painter.setPen(Qt.PenStyle.NoPen)
        for at in self.marked:
            painter.drawEllipse(QRectF((at + 0.5) * wide - 2, 1, 4, 4))
        painter.setPen(QPen(self.palette().highlight().color(), 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(QRectF(self.current * wide, 1, max(2.0, wide), self.height() - 2))

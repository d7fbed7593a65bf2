"""A combo box for names of any length."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QComboBox, QStyle, QStyleOptionComboBox, QStylePainter, QToolTip

__all__ = ["ElidedCombo"]


class ElidedCombo(QComboBox):
    """A combo box that shortens long names with … to fit its width.

    If the chosen name is shortened, the tooltip begins with the full name.

    Parameters
    ----------
    least : int, optional
        Number of letters for which there is always room.
    cut : Qt.TextElideMode, optional
        Where a long name is cut: at its end, or in the middle if names differ at their ends.
    """

    def __init__(self, least: int = 6, cut: Qt.TextElideMode = Qt.TextElideMode.ElideRight) -> None:
        super().__init__()
        self._cut = cut
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(least)

    @property
    def shown_text(self) -> str:
        """The chosen entry as it is drawn, possibly shortened."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        return self._elided(option)

    def paintEvent(self, _event: Any) -> None:  # noqa: N802 - Qt's name
        """Draw the chosen entry, shortened to fit."""
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        if self.currentIndex() < 0 and self.placeholderText():
            option.currentText = self.placeholderText()
        option.currentText = self._elided(option)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def event(self, event: QEvent | None) -> bool:
        """Show the tooltip that begins with the full entry, if the entry is shortened."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip and self.tip != self.toolTip():
            QToolTip.showText(event.globalPos(), self.tip, self)
            return True
        return super().event(event)

    @property
    def tip(self) -> str:
        """The tooltip; it begins with the chosen entry if that is shortened."""
        whole = self.currentText()
        return self.toolTip() if self.shown_text == whole else f"{whole}\n\n{self.toolTip()}"

    def _elided(self, option: QStyleOptionComboBox) -> str:
        style = self.style()
        assert style is not None
        room = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        ).width()
        # Styles keep a few pixels on both sides.
        return self.fontMetrics().elidedText(option.currentText, self._cut, max(room - 6, 0))

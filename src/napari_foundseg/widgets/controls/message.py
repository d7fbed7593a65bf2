"""Messages below the control that they are about."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

from napari_foundseg.core.errors import (
    AxesError,
    BadImageError,
    CheckpointError,
    DTypeError,
    FoundsegError,
    ModelNotFoundError,
    PromptError,
    SettingsError,
)
from napari_foundseg.widgets.controls.colours import theme_colour

__all__ = ["Message", "part_of"]

_PART_OF_ERROR: dict[type[FoundsegError], str] = {
    BadImageError: "image",
    AxesError: "image",
    DTypeError: "image",
    ModelNotFoundError: "model",
    CheckpointError: "model",
    SettingsError: "settings",
    PromptError: "inputs",
}


class Message(QLabel):
    """A message; hidden while it is empty."""

    def __init__(self, theme: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.set_theme(theme)
        self.hide()

    def set_theme(self, theme: str) -> None:
        """Take the colour of the border from a theme; the text keeps the theme's text colour, for contrast."""
        self.setStyleSheet(f"QLabel {{ border-left: 4px solid {theme_colour(theme, 'error')}; padding: 2px 6px; }}")

    def say(self, text: str) -> None:
        """Show a text; an empty one hides the message."""
        self.setText(text)
        self.setVisible(bool(text))


def part_of(error: FoundsegError) -> str:
    """Return which part of a form an error is about."""
    return next((part for kind, part in _PART_OF_ERROR.items() if isinstance(error, kind)), "run")

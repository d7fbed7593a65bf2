"""Messages that are shown below the control to which they refer."""

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
    """A text below a control, either an error or a hint; hidden while it is empty."""

    def __init__(self, theme: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._is_error = True
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.set_theme(theme)
        self.hide()

    def set_theme(self, theme: str) -> None:
        """Use a theme's colour for the border of errors; the text keeps the theme's text colour, for contrast."""
        self._theme = theme
        border = f"border-left: 4px solid {theme_colour(theme, 'error')}; " if self._is_error else ""
        self.setStyleSheet(f"QLabel {{ {border}padding: 2px 6px; }}")

    @property
    def is_error(self) -> bool:
        """Whether the message is an error; otherwise it is a hint."""
        return self._is_error

    def say(self, text: str) -> None:
        """Show an error; an empty text hides the message."""
        self._show(text, is_error=True)

    def hint(self, text: str) -> None:
        """Show a hint, without the border of an error; an empty text hides the message."""
        self._show(text, is_error=False)

    def _show(self, text: str, *, is_error: bool) -> None:
        if is_error != self._is_error:
            self._is_error = is_error
            self.set_theme(self._theme)
        self.setText(text)
        self.setVisible(bool(text))


def part_of(error: FoundsegError) -> str:
    """Return the name of the part of a form to which an error refers."""
    return next((part for kind, part in _PART_OF_ERROR.items() if isinstance(error, kind)), "run")

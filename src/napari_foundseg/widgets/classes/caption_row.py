"""The caption of *Text*: a sentence whose noun phrases become concepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.tasks.classes.noun_phrases import noun_phrases
from napari_foundseg.widgets.controls.rows import wrapping_label

__all__ = ["CaptionRow", "caption_html"]


class CaptionRow(QWidget):
    """A line for a caption, a button that takes its phrases, and the caption with its phrases marked.

    Parameters
    ----------
    take : callable
        Called with the phrases.
    fail : callable
        Called with the error.
    """

    def __init__(self, take: Callable[[list[str]], None], fail: Callable[[FoundsegError], None]) -> None:
        super().__init__()
        self._take = take
        self._fail = fail
        #: The caption whose phrases were taken.
        self.caption: str | None = None
        self.text = QLineEdit()
        self.text.setPlaceholderText("a caption, such as: two syringes and a small vial of vaccine")
        self.text.setAccessibleName("Caption")
        self.text.setToolTip(
            "A sentence in English. Its noun phrases become the concepts below, where they can be changed. In other "
            "languages separate the concepts with semicolons below."
        )
        self.text.returnPressed.connect(self._split)
        self.button = QPushButton("Take phrases")
        self.button.setToolTip("Make a concept of each noun phrase of the caption, in place of the concepts below.")
        self.button.clicked.connect(self._split)
        line = QHBoxLayout()
        line.addWidget(self.text, 1)
        line.addWidget(self.button)
        self.shown = wrapping_label("")
        self.shown.setTextFormat(Qt.TextFormat.RichText)
        self.shown.setAccessibleName("Phrases of the caption")
        self.shown.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(line)
        layout.addWidget(self.shown)

    def mark(self, colours: Mapping[str, str], counts: Mapping[str, int] | None = None) -> None:
        """Show the caption with its phrases in the colours of their concepts, and the number of boxes of each."""
        text = caption_html(self.caption, colours, counts) if self.caption else ""
        self.shown.setText(text)
        self.shown.setVisible(bool(text))

    def _split(self) -> None:
        text = self.text.text().strip()
        try:
            phrases = noun_phrases(text)
        except FoundsegError as error:
            self._fail(error)
            return
        self.caption = text
        # A long caption is shown from its beginning.
        self.text.setCursorPosition(0)
        self._take([phrase.text for phrase in phrases])


def caption_html(caption: str, colours: Mapping[str, str], counts: Mapping[str, int] | None = None) -> str:
    """Return a caption as HTML, its phrases in the colours of their concepts and with their number of boxes."""
    out = ""
    at = 0
    for phrase in noun_phrases(caption):
        out += escape(caption[at : phrase.start])
        words = escape(caption[phrase.start : phrase.end])
        if (colour := colours.get(phrase.text)) is None:
            out += words
        else:
            count = "" if counts is None else f" ({counts.get(phrase.text, 0)})"
            out += f'<b><span style="color: {colour}">{words}{count}</span></b>'
        at = phrase.end
    return out + escape(caption[at:])

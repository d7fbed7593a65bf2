"""The token of the Hugging Face hub, for models whose authors ask for consent."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.downloads.model_state import ModelState, hub_page
from napari_foundseg.widgets.controls.colours import theme_colour
from napari_foundseg.widgets.controls.rows import link_html, side_by_side, wrapping_label
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.runs.model_work import model_work

__all__ = ["HubToken"]

_TOKENS = "https://huggingface.co/settings/tokens"
#: Greatest length of an address that is shown in full.
_WHOLE = 64
_EMPTY = "Paste a token first."


class HubToken(QWidget):
    """A field for a Hugging Face token, which the hub's client stores, and the terms to accept first."""

    #: A token was not kept; the reason, as a sentence.
    failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._name = ""
        self.words = wrapping_label("")
        self.words.setTextFormat(Qt.TextFormat.RichText)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.words.setOpenExternalLinks(True)
        self.field = QLineEdit()
        self.field.setAccessibleName("Token of the Hugging Face hub")
        self.field.setPlaceholderText("hf_…")
        self.field.setEchoMode(QLineEdit.EchoMode.Password)
        self.field.setAcceptDrops(False)
        self.keep_button = QPushButton("Keep token")
        self.keep_button.setToolTip(
            "The hub's client keeps it on this computer, where its other programs find it too; this plugin keeps none."
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.words)
        layout.addWidget(side_by_side(self.field, self.keep_button))
        self.field.textChanged.connect(self._show_usability)
        self.field.returnPressed.connect(self._keep)
        self.keep_button.clicked.connect(self._keep)
        model_work().ended.connect(self._end)
        self._show_usability()
        self.hide()

    def show_for(self, row: CatalogRow, state: ModelState, theme: str) -> None:
        """Show it for a model that needs consent and is not on this computer; hide it for others."""
        self._name = row.name
        self.setVisible(row.gated and not state.here)
        colour = theme_colour(theme, "text")
        page, tokens = (link_html(address, colour, _WHOLE) for address in (hub_page(row), _TOKENS))
        self.words.setText(
            f"Its authors ask for your consent: log in at {page}, accept their terms ({escape(row.weights_licence)}), "
            f"make a token that reads at {tokens}, and paste it here."
        )

    def _show_usability(self) -> None:
        set_usable(self.keep_button, "" if self.field.text().strip() else _EMPTY)

    def _keep(self) -> None:
        token = self.field.text().strip()
        if token:
            model_work().start(self._name, "token", token)

    def _end(self, name: str, kind: str, outcome: object) -> None:
        if name != self._name or kind != "token":
            return
        if isinstance(outcome, FoundsegError):
            self.failed.emit(str(outcome))
        else:
            self.field.clear()

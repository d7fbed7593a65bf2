"""The description of the chosen model in the dock *Models*."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

from napari_foundseg.models.catalog import CatalogRow, base_of
from napari_foundseg.models.choosing.advice import MODALITIES, UNKNOWN_LICENCES
from napari_foundseg.models.choosing.times import ModelTimes, seconds_text
from napari_foundseg.models.downloads.size_text import size_text
from napari_foundseg.models.store import addresses
from napari_foundseg.widgets.controls.colours import theme_colour
from napari_foundseg.widgets.controls.rows import link_html
from napari_foundseg.widgets.models.model_lines import ModelLine

__all__ = ["ModelDetails", "times_in_words"]

#: Greatest length of an address that is shown in full.
_WHOLE = 48


class ModelDetails(QLabel):
    """A wrapped text about a model, with a link to its source."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        super().__init__()
        self._titles = titles
        self.setAccessibleName("About the chosen model")
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.setOpenExternalLinks(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    def show_model(self, line: ModelLine | None, times: ModelTimes | None, theme: str) -> None:
        """Show another model, or say that none is chosen if `line` is None."""
        if line is None:
            self.setText("No model is chosen.")
            return
        row = line.row
        facts = [f"<b>{escape(row.title)}</b> ({escape(row.name)})"]
        facts.append(escape(row.good_for or f"What it is good for is not recorded. It takes: {row.input}."))
        trained = ", ".join(MODALITIES.get(name, name).lower() for name in row.modalities)
        facts.append(f"For: {escape(', '.join(self._titles[name] for name in line.tasks) or 'no form')}.")
        if trained:
            facts[-1] += f" Trained mainly on: {escape(trained)}."
        facts.append(f"{size_text(row.size_mb)}. {_licences(row)}")
        if (base := base_of(row)) is not None:
            facts.append(
                f"Its base {escape(base.title)} ({escape(base.name)}), whose terms apply too: {_licences(base)}"
            )
        facts.append(f"{escape(line.help)}")
        colour = theme_colour(theme, "text")
        if links := addresses(row):
            shown = " and ".join(link_html(link, colour, _WHOLE) for link in links)
            facts.append(f"From {shown}.")
        if times is not None:
            facts.append(escape(times_in_words(times, self._titles)))
        facts.append(f"Cite: {escape(row.citation)}")
        self.setText("<br>".join(facts))


def times_in_words(times: ModelTimes, titles: Mapping[str, str]) -> str:
    """Return the measured times, one sentence for each device."""
    sentences = []
    for device, one in times.devices.items():
        parts = []
        if one.encode is not None:
            parts.append(f"encoding {seconds_text(one.encode)}")
        if one.click is not None:
            parts.append(f"a click {seconds_text(one.click)}")
        for key, seconds in one.runs.items():
            task, _, method = key.partition(".")
            parts.append(f"{titles.get(task, task)} ({method}) {seconds_text(seconds)}")
        sentences.append(f"Here on {device}, on the standard picture: {', '.join(parts) or 'loading only'}.")
    return " ".join(sentences)


def _licences(row: CatalogRow) -> str:
    return f"Licence of the code: {_licence(row.code_licence)}; of the weights: {_licence(row.weights_licence)}."


def _licence(name: str) -> str:
    if name.lower() not in UNKNOWN_LICENCES:
        return escape(name)
    return (
        "unknown: read it at the source before use"
        if name.lower() in ("", "unknown")
        else ("of their own: read it at the source before use")
    )

"""The lines of the table of models: looking up states and times, and the texts of each line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napari_foundseg.models.catalog import CatalogRow, catalog
from napari_foundseg.models.choosing.advice import MODALITIES
from napari_foundseg.models.choosing.times import ModelTimes, recall_times, seconds_text
from napari_foundseg.models.downloads.model_state import ModelState, model_state
from napari_foundseg.tasks.task_models import tasks_for
from napari_foundseg.widgets.qt.numpy_thread import window_first
from napari_foundseg.widgets.runs.model_work import model_work

__all__ = ["ModelLine", "look_up_models", "make_line"]


@dataclass(frozen=True)
class ModelLine:
    """The texts that the table shows for one model.

    Parameters
    ----------
    row : CatalogRow
        The model.
    tasks : tuple of str
        Names of the tasks that can use it.
    state : str
        The state of its weights, in a few words.
    help : str
        The state in full, for the tooltip and the details.
    times : str
        The measured times, in a few words.
    here : bool
        Whether its weights are on this computer.
    """

    row: CatalogRow
    tasks: tuple[str, ...]
    state: str
    help: str
    times: str
    here: bool

    def matches(self, text: str, task: str, modality: str, titles: Mapping[str, str]) -> bool:
        """Return whether the model passes a search text and filters; empty ones pass all.

        All words of the search text must be found.
        """
        row = self.row
        if (task and task not in self.tasks) or (modality and modality not in row.modalities):
            return False
        said = (row.name, row.title, row.good_for, row.input, row.weights_licence, row.code_licence, row.citation)
        listed = (*(titles[name] for name in self.tasks), *(MODALITIES.get(name, name) for name in row.modalities))
        found = " ".join((*said, self.state, *listed)).casefold()
        return all(word in found for word in text.casefold().split())

    def distance(self, text: str) -> int:
        """Return how far a search text is from the model's names: 0 if one contains it, 1 if one has all its words."""
        names = (self.row.name.casefold(), self.row.title.casefold())
        words = text.casefold().split()
        # "sam 2" is also in sam2-hiera-tiny and MedSAM2.
        if any(_letters("".join(words)) in _letters(name) for name in names):
            return 0
        return 1 if any(all(word in name for word in words) for name in names) else 2


def _letters(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum())


def look_up_models(*, quick: bool = False) -> dict[str, tuple[ModelState, ModelTimes | None]]:
    """Return the state and times of all models, by name; the window has priority meanwhile.

    `quick` is passed to `model_state`.
    """
    with window_first():
        return {row.name: (model_state(row, quick=quick), recall_times(row)) for row in catalog().values()}


def make_line(row: CatalogRow, state: ModelState | None, times: ModelTimes | None) -> ModelLine:
    """Return the table line of a model, with the progress of any work on it; without a state it shows "…"."""
    words = "…" if state is None else state.words.partition(",")[0].removesuffix(" here")
    under_way = model_work().of(row.name)
    if under_way is not None:
        words = f"{under_way.kind} {100 * under_way.share:.0f} %"
    return ModelLine(
        row,
        tuple(tasks_for(row)),
        words,
        "" if state is None else _explanation(state),
        "" if times is None else _times_in_short(times),
        state is not None and state.here,
    )


def _explanation(state: ModelState) -> str:
    """Return the state in sentences, without addresses and terms, which the links below the table show."""
    if state.kind in ("to download", "gated"):
        return f"Not on this computer. {state.problem}".strip()
    return state.explanation


def _times_in_short(times: ModelTimes) -> str:
    """Return the times of encoding and a click, or else of a run, on the automatically chosen device."""
    one = times.on("auto") or next(iter(times.devices.values()), None)
    if one is None:
        return ""
    if one.encode is not None and one.click is not None:
        return f"{seconds_text(one.encode)} + {seconds_text(one.click)}"
    return next((seconds_text(seconds) for seconds in one.runs.values()), "")

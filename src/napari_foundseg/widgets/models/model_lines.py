"""The lines of the table of models: what is looked up of each, and what the table says of it."""

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
    """What the table shows of a model.

    Parameters
    ----------
    row : CatalogRow
        The model.
    tasks : tuple of str
        Names of the tasks that it can do.
    state : str
        The state of its weights, in a few words.
    help : str
        The state as a whole.
    times : str
        What was measured, in a few words.
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
        """Return whether it is shown with a search text (all words must be found) and filters; empty ones pass all."""
        row = self.row
        if (task and task not in self.tasks) or (modality and modality not in row.modalities):
            return False
        said = (row.name, row.title, row.good_for, row.input, row.weights_licence, row.code_licence, row.citation)
        listed = (*(titles[name] for name in self.tasks), *(MODALITIES.get(name, name) for name in row.modalities))
        found = " ".join((*said, self.state, *listed)).casefold()
        return all(word in found for word in text.casefold().split())


def look_up_models(*, quick: bool = False) -> dict[str, tuple[ModelState, ModelTimes | None]]:
    """Return state and times of all models by name; the window draws meanwhile. `quick`: as `model_state` takes it."""
    with window_first():
        return {row.name: (model_state(row, quick=quick), recall_times(row)) for row in catalog().values()}


def make_line(row: CatalogRow, state: ModelState | None, times: ModelTimes | None) -> ModelLine:
    """Return what the table says of a model, and what is under way with it; without a state it is being looked up."""
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
    """Return the state in sentences; where to get weights, and what to accept, is said by links beside it."""
    if state.kind in ("to download", "gated"):
        return f"Not on this computer. {state.problem}".strip()
    return state.explanation


def _times_in_short(times: ModelTimes) -> str:
    """Return encoding and click, or else a run, on the device that is chosen by itself."""
    one = times.on("auto") or next(iter(times.devices.values()), None)
    if one is None:
        return ""
    if one.encode is not None and one.click is not None:
        return f"{seconds_text(one.encode)} + {seconds_text(one.click)}"
    return next((seconds_text(seconds) for seconds in one.runs.values()), "")

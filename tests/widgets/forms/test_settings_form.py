from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field
from qtpy.QtWidgets import QLabel

from napari_foundseg.io.preferences import preferences
from napari_foundseg.tasks import TASKS, Settings
from napari_foundseg.widgets.forms.settings_form import SettingsForm
from napari_foundseg.widgets.runs.run_time import in_words
from napari_foundseg.widgets.saved.form_memory import recall

pytestmark = pytest.mark.gui


class Sample(Settings):
    method: Literal["sample"] = "sample"
    size: int = Field(3, ge=1, le=9, json_schema_extra={"unit": "pixels"})
    """How large."""
    share: float = Field(0.5, gt=0, le=1, json_schema_extra={"live": True})
    """How much."""
    shape: Literal["round", "square"] = "square"
    """Which shape."""
    tile: bool = Field(True, json_schema_extra={"more": True})
    """Whether to tile."""
    name: str = "a"
    """A name."""
    folder: Path = Path("/out")
    """A folder."""
    diameter: float | None = Field(None, gt=0, json_schema_extra={"step": 5})
    """How wide, where that is known."""


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path))


def test_a_form_shows_defaults_units_and_help(qtbot: Any) -> None:
    form = SettingsForm(Sample, "sample")
    qtbot.addWidget(form)
    assert Sample.parse(form.values()) == Sample()
    labels = {label.text(): label.toolTip() for label in form.findChildren(QLabel)}
    assert labels["Size (pixels)"] == "How large."
    assert form.live_fields() == {"share"}
    form.set_values({"diameter": 30})
    assert form.values()["diameter"] == 30
    form.set_values({"diameter": None})
    assert form.values()["diameter"] is None


def test_a_model_is_chosen_among_those_at_hand_that_can_do_it(qtbot: Any) -> None:
    form = SettingsForm(TASKS["text"].methods["heat maps"], "text")
    qtbot.addWidget(form)
    assert form.values()["refine_model"] == ""
    form.set_values({"refine_model": "foundseg-tiny"})
    assert form.values()["refine_model"] == "foundseg-tiny"
    form.set_values({"refine_model": "sam-vit-h"})
    assert form.values()["refine_model"] == "foundseg-tiny", "of a model that is not here nothing can be made"


def test_a_form_remembers_its_last_values(qtbot: Any) -> None:
    form = SettingsForm(Sample, "sample")
    qtbot.addWidget(form)
    form.set_values({"size": 7, "shape": "round", "tile": False, "share": 0.25, "diameter": 12.5})
    form.remember()
    again = SettingsForm(Sample, "sample")
    qtbot.addWidget(again)
    assert again.values() == form.values()
    assert recall("sample")["size"] == 7


def test_values_that_fit_no_more_are_passed_over(qtbot: Any) -> None:
    form = SettingsForm(Sample, "sample")
    qtbot.addWidget(form)
    form.set_values({"size": 700, "shape": "oval", "gone": 1})
    assert Sample.parse(form.values()) == Sample()


@pytest.mark.parametrize(("task", "method"), [(t, m) for t, row in TASKS.items() for m in row.methods])
def test_every_method_of_every_task_has_a_form_with_its_defaults(qtbot: Any, task: str, method: str) -> None:
    declared = TASKS[task].methods[method]
    form = SettingsForm(declared, "x")
    qtbot.addWidget(form)
    assert declared.parse(form.values()) == declared()


def test_the_environment_wins_over_the_preferences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_DEVICE", "cpu")
    monkeypatch.setenv("FOUNDSEG_ENGINE", "tls://host:1")
    found = preferences()
    assert (found.device, found.address) == ("cpu", "tls://host:1")


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "about 1 s"), (4.2, "about 4 s"), (600, "about 10 min")])
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words

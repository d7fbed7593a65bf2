"""What version 0.1 kept of a window is offered and shown today."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.io.journal import journal_folder
from napari_foundseg.io.readers import read_image
from napari_foundseg.tasks import TASKS
from napari_foundseg.widgets.forms.settings_form import SettingsForm
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support import ROOT

pytestmark = pytest.mark.gui
KEPT = ROOT / "tests" / "data" / "version_0_1"
FORMS = [key for key in json.loads((KEPT / "forms.json").read_text()) if "." in key]


def test_interrupted_work_is_offered_and_recovered(qtbot: Any, viewer: Any, engine: Any) -> None:
    shutil.copytree(KEPT / "journal", journal_folder(), dirs_exist_ok=True)
    viewer.add_image(np.asarray(read_image(KEPT / "batch" / "images" / "nuclei.tif").raw()), name="nuclei")
    form = PromptWidget(viewer)
    viewer.window.add_dock_widget(form)
    qtbot.waitUntil(form.recovery.isVisible)
    qtbot.mouseClick(form.recovery.keep_button, Qt.MouseButton.LeftButton)
    with np.load(KEPT / "journal" / "labels.npz") as expected:
        np.testing.assert_array_equal(viewer.layers["Labels"].data, expected["labels"])


@pytest.mark.parametrize("key", FORMS)
def test_a_form_shows_the_values_of_the_last_time(qtbot: Any, key: str) -> None:
    cache = Path(os.environ["FOUNDSEG_CACHE"])
    cache.mkdir(exist_ok=True)
    shutil.copy(KEPT / "forms.json", cache / "forms.json")
    task, method = key.split(".")
    form = SettingsForm(TASKS[task].methods[method], key)
    qtbot.addWidget(form)
    kept = json.loads((KEPT / "forms.json").read_text())[key]
    shown = TASKS[task].methods[method].parse(form.values()).model_dump(mode="json", exclude={"method"})
    # The default of that version is that of this one, unless the user had set it.
    link = {"link": "3d"} if "link" in kept else {}
    assert {name: shown[name] for name in kept} == kept | link


def test_a_switch_that_the_user_had_set_is_the_choice_that_it_is_now(qtbot: Any) -> None:
    cache = Path(os.environ["FOUNDSEG_CACHE"])
    cache.mkdir(exist_ok=True)
    kept = json.loads((KEPT / "forms.json").read_text())
    kept["panoptic.nuclei"]["link"] = True
    (cache / "forms.json").write_text(json.dumps(kept))
    form = SettingsForm(TASKS["panoptic"].methods["nuclei"], "panoptic.nuclei")
    qtbot.addWidget(form)
    assert form.values()["link"] == "overlap"

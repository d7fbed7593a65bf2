"""Models are imported in the form: by clicks, in a process of its own, seen by every open form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog
from safetensors.torch import load_file, save_file

from napari_foundseg.io.preferences import engine_environment
from napari_foundseg.models import store
from napari_foundseg.models.catalog import row
from napari_foundseg.models.importing import import_model, remove_model
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.classes.name_masks_dock import NameMasksWidget
from napari_foundseg.widgets.classes.semantic_dock import SemanticWidget
from napari_foundseg.widgets.classes.text_dock import TextWidget
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.small_sam import small_sam
from tests.support.small_sam2 import small_network
from tests.support.tiny_checkpoints import write

pytestmark = pytest.mark.gui

#: A process that starts on a busy computer.
_LONG = 60_000


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A file of the built-in model's network."""
    path = tmp_path / "mine.safetensors"
    # Other bytes than the built-in file's, which would be taken for it.
    metadata = {"format": "foundseg-tiny", "version": "3", "of": "another"}
    save_file(load_file(store.weights(row("foundseg-tiny"))), path, metadata=metadata)
    return path


def _docked(viewer: Any, *kinds: Any) -> list[Any]:
    if not viewer.layers:
        viewer.add_image(np.zeros((64, 64), np.uint8), name="cells")
    forms = [kind(viewer) for kind in kinds]
    for form in forms:
        viewer.window.add_dock_widget(form, name=form.task.title)
    return forms


def _models(form: Any) -> list[str]:
    """Return the models that a form lists, without the entry at the foot."""
    return [name for i in range(form.model.count()) if (name := form.model.itemData(i))]


def _entry(form: Any, text: str) -> Any:
    return next(action for action in form.model_row.import_button.menu().actions() if action.text() == text)


def test_a_file_is_imported_by_clicks_and_all_open_forms_list_it(
    qtbot: Any, viewer: Any, engine: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, prompt = _docked(viewer, AutomaticWidget, PromptWidget)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tiny), ""))
    _entry(form, "Weights file…").trigger()
    assert form.model_row.words.text() == "Importing mine.safetensors…"
    assert not form.model_row.import_button.isEnabled()
    form.model_row.import_weights("another")
    qtbot.waitUntil(lambda: form.model.currentText() == "mine", timeout=_LONG)
    assert form.model_row.words.text().startswith("Imported as mine.")
    assert form.model_row.import_button.isEnabled()
    assert "mine" in _models(prompt)
    assert prompt.model.currentText() == "foundseg-tiny"
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    assert engine.jobs[-1].request.model == "mine"


def test_a_folder_is_imported_where_the_form_had_no_model(
    qtbot: Any, viewer: Any, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "downloaded"
    folder.mkdir()
    write("CLIPSegForImageSegmentation", folder)
    (form,) = _docked(viewer, TextWidget)
    before = _models(form)
    assert before[0] == "clipseg-rd64-refined"
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    _entry(form, "Folder of weights…").trigger()
    qtbot.waitUntil(lambda: "Imported as" in form.model_row.words.text(), timeout=_LONG)
    assert _models(form) == [*before[1:], "downloaded"]
    assert "on this computer" in form.model_row.state.text()
    assert "clipseg-rd64-refined" in form.model_row.words.text()


@pytest.mark.parametrize("kind", ["page", "sam3", "gone", "cancelled"])
def test_what_is_no_model_is_named_in_the_form(
    qtbot: Any, viewer: Any, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "large.pt"
    if kind == "page":
        path.write_text("<!DOCTYPE html><html></html>")
    elif kind == "sam3":
        torch.save({"detector.geometry_encoder.norm.weight": torch.zeros(1)}, path)
    (form,) = _docked(viewer, AutomaticWidget)
    before = _models(form)
    chosen = "" if kind == "cancelled" else str(path)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (chosen, ""))
    _entry(form, "Weights file…").trigger()
    if kind == "cancelled":
        assert not form.model_row.words.isVisible()
        return
    qtbot.waitUntil(form.messages["model"].isVisible, timeout=_LONG)
    words = {"page": "is a web page (HTML)", "sam3": "is a SAM 3 checkpoint: not supported yet", "gone": "is not there"}
    assert words[kind] in form.messages["model"].text()
    assert str(path) in form.messages["model"].text()
    assert not form.model_row.words.isVisible()
    assert form.model_row.import_button.isEnabled()
    assert _models(form) == before


def test_a_model_for_other_forms_says_which(qtbot: Any, viewer: Any, engine: Any, tiny: Path) -> None:
    text, automatic = _docked(viewer, TextWidget, AutomaticWidget)
    text.model_row.import_weights(str(tiny))
    qtbot.waitUntil(lambda: "Imported as mine" in text.model_row.words.text(), timeout=_LONG)
    assert "It is not for Text, but for: Automatic masks" in text.model_row.words.text()
    assert "mine" in _models(automatic)


def test_what_was_assumed_of_a_file_is_said(qtbot: Any, viewer: Any, engine: Any, tmp_path: Path) -> None:
    small_network("sam2_video").save_pretrained(tmp_path / "medsam2")
    (prompt,) = _docked(viewer, PromptWidget)
    prompt.model_row.import_weights(str(tmp_path / "medsam2"))
    qtbot.waitUntil(lambda: "Imported as medsam2" in prompt.model_row.words.text(), timeout=_LONG)
    words = prompt.model_row.words.text()
    assert "taken for MedSAM2 by its name, which sees 128 pixels" in words
    assert "models import FILE --family sam2" in words


def test_an_import_on_the_command_line_is_noticed(qtbot: Any, viewer: Any, engine: Any, tiny: Path) -> None:
    form, prompt = _docked(viewer, AutomaticWidget, PromptWidget)
    command = [sys.executable, "-m", "napari_foundseg", "models", "import", str(tiny), "--name", "other"]
    subprocess.run(command, check=True, env=engine_environment(), capture_output=True)
    qtbot.waitUntil(lambda: "other" in _models(form) and "other" in _models(prompt))
    assert form.model.currentText() == "foundseg-tiny"
    remove_model("other")
    qtbot.waitUntil(lambda: "other" not in _models(form))


def test_a_missing_model_can_be_chosen_and_says_where_it_is(
    qtbot: Any, viewer: Any, engine: Any, tmp_path: Path
) -> None:
    (form,) = _docked(viewer, AutomaticWidget)
    assert form.words.text().startswith("about")
    form.model.setCurrentIndex(form.model.findData("sam-vit-b"))
    assert form.words.text() == ""
    state = form.model_row.state
    address = "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth"
    assert f'href="{address}"' in state.text()
    assert "Apache-2.0" in state.text()
    assert state.textInteractionFlags() & Qt.TextInteractionFlag.TextSelectableByMouse
    assert state.openExternalLinks()
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    assert not engine.jobs
    assert "Download SAM ViT-B?" in form.offer.words.text()
    assert not form.messages["model"].text()
    # The authors' file, once it is imported, is this row.
    torch.save(small_sam().state_dict(), tmp_path / "vit_small.pth")
    name = import_model(tmp_path / "vit_small.pth").name
    qtbot.waitUntil(lambda: name in _models(form))
    assert form.model.currentData() == "sam-vit-b"


@pytest.mark.parametrize("kind", [TextWidget, SemanticWidget, NameMasksWidget])
def test_the_first_start_is_no_dead_end(qtbot: Any, viewer: Any, engine: Any, kind: Any) -> None:
    (form,) = _docked(viewer, kind)
    if kind is NameMasksWidget:
        viewer.add_labels(np.ones(viewer.layers[0].data.shape[:2], np.uint8))
    assert "Not on this computer" in form.model_row.state.text()
    assert "href=" in form.model_row.state.text()
    assert form.model_row.import_button.isVisibleTo(form)
    assert form.model_row.import_button.isEnabled()
    assert form.words.text() == ""
    assert any("StarDist" in action.text() for action in form.model_row.import_button.menu().actions())
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    assert "not on this computer. Download" in form.offer.words.text()
    assert not form.messages["model"].text()
    assert not engine.jobs


def test_a_form_that_is_closed_during_an_import_ends_it(qtbot: Any, viewer: Any, engine: Any, tiny: Path) -> None:
    (form,) = _docked(viewer, AutomaticWidget)
    form.model_row.import_weights(str(tiny))
    process = form.model_row._import._process
    form.release()
    assert process.state() == process.ProcessState.NotRunning

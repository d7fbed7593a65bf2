"""Weights from anybody, imported and run by clicks: nothing of them is executed, and the form says what they are."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qtpy.QtCore import Qt

from napari_foundseg.models.catalog import models_folder
from napari_foundseg.models.importing import import_model
from napari_foundseg.widgets.classes.semantic_dock import SemanticWidget
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.small_sam import small_sam
from tests.support.tiny_checkpoints import write

pytestmark = pytest.mark.gui

#: A process that starts on a busy computer.
_LONG = 60_000


class Calls:
    """Has a function called wherever it is unpickled."""

    def __init__(self, function: object, *values: object) -> None:
        self.parts = (function, values)

    def __reduce__(self) -> tuple[object, ...]:
        return self.parts


def _docked(viewer: Any, kind: Any) -> Any:
    viewer.add_image(np.zeros((64, 64, 3), np.uint8), name="photograph", rgb=True)
    form = kind(viewer)
    viewer.window.add_dock_widget(form, name=form.task.title)
    return form


def test_poisoned_weights_that_are_chosen_in_the_form_run_nothing(
    qtbot: Any, viewer: Any, engine: Any, tmp_path: Path
) -> None:
    mark = tmp_path / "owned"
    tensors = small_sam().state_dict()
    bomb = argparse.Namespace(many=Calls(list, range(10**9)), zeros=Calls(bytearray, 10**12))
    torch.save({**tensors, "more": bomb, "x": Calls(os.system, f"touch '{mark}'")}, tmp_path / "vit_small.pth")
    form = _docked(viewer, PromptWidget)
    before = [form.model.itemText(i) for i in range(form.model.count())]
    form.model_row.import_weights(str(tmp_path / "vit_small.pth"))
    qtbot.waitUntil(form.messages["model"].isVisible, timeout=_LONG)
    words = form.messages["model"].text()
    assert str(tmp_path / "vit_small.pth") in words
    assert "Nothing was run" in words or "nothing of it was run" in words
    assert not mark.exists()
    assert form.model_row.import_button.isEnabled()
    assert [form.model.itemText(i) for i in range(form.model.count())] == before


def test_a_folder_that_was_poisoned_after_its_import_runs_nothing_in_the_engine(
    qtbot: Any, viewer: Any, tmp_path: Path
) -> None:
    mark = tmp_path / "owned"
    folder = write("SegformerForSemanticSegmentation", tmp_path / "downloaded")
    name = import_model(folder).name
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": {"AutoConfig": "evil.Evil"}}))
    form = _docked(viewer, SemanticWidget)
    form.model.setCurrentIndex(form.model.findData(name))
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: any(message.isVisible() for message in form.messages.values()), timeout=_LONG)
    said = " ".join(message.text() for message in form.messages.values())
    assert "config.json names" in said or "config.json says" in said
    assert not mark.exists()
    qtbot.waitUntil(lambda: form.current is None)
    assert len(viewer.layers) == 1


def test_a_damaged_row_of_the_catalogue_is_named_in_the_form(qtbot: Any, viewer: Any, engine: Any) -> None:
    models_folder().mkdir(parents=True, exist_ok=True)
    bad = models_folder() / "mine.toml"
    form = _docked(viewer, PromptWidget)
    assert not form.model_row.damaged.isVisible()
    bad.write_text("title = ")
    try:
        qtbot.waitUntil(form.model_row.damaged.isVisible)
        assert "mine is left out: mine.toml cannot be read" in form.model_row.damaged.text()
        assert str(bad) in form.model_row.damaged.toolTip()
        assert form.model.currentText() == "foundseg-tiny"
        second = _docked(viewer, SemanticWidget)
        assert not second.model_row.damaged.isHidden()
    finally:
        bad.unlink()
    qtbot.waitUntil(lambda: not form.model_row.damaged.isVisible())

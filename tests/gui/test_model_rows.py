"""What a model's row says is seen in the form; a result without objects adds no layer and says why."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qtpy.QtCore import Qt

from napari_foundseg.core.contrast import AsIs, MinMax, Percentile
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.nets.sam.unetr import Unetr
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from tests.support.small_sam import SMALL, randomised, small_sam

pytestmark = pytest.mark.gui


@pytest.fixture
def micro_sam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an imported micro-sam with an instance decoder."""
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    decoder = randomised(Unetr(transposed=False, width=SMALL["prompt"]).eval())
    content = {"model_state": small_sam().state_dict(), "decoder_state": decoder.state_dict()}
    torch.save(content, tmp_path / "vit_small_lm.pt")
    return import_model(tmp_path / "vit_small_lm.pt").name


def _docked(viewer: Any) -> Any:
    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form, name="Automatic masks")
    return form


def _contrast(form: Any) -> str:
    return str(form.image._normalisation.currentText())


def test_choosing_a_model_shows_its_defaults_and_what_it_expects(
    qtbot: Any, viewer: Any, engine: Any, micro_sam: str
) -> None:
    viewer.add_image(np.zeros((64, 64), np.uint8), name="cells")
    form = _docked(viewer)
    settings = form.forms["decoder"]
    assert settings.values()["foreground_threshold"] == 0.7
    assert _contrast(form) == "Automatic (as this model expects: percentiles 0.5 to 99.5)"
    settings._controls["centre_threshold"].value = 0.6
    form.model.setCurrentIndex(form.model.findData(micro_sam))
    shown = settings.values()
    assert shown["foreground_threshold"] == 0.5
    assert shown["boundary_threshold"] == 0.5
    assert shown["seed_smoothing"] == 1.6
    assert shown["foreground_smoothing"] == 1
    assert shown["min_area"] == 0
    assert shown["centre_threshold"] == 0.6
    assert _contrast(form) == "Automatic (as this model expects: min to max)"
    assert "foreground threshold 0.5" in form.model_row.state.text()
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    request = engine.jobs[0].request
    assert request.settings.min_area == 0
    assert request.image.normalisation == MinMax()
    qtbot.mouseClick(form.cancel_button, Qt.MouseButton.LeftButton)
    form.model.setCurrentIndex(form.model.findData("foundseg-tiny"))
    assert settings.values()["foreground_threshold"] == 0.7
    assert settings.values()["centre_threshold"] == 0.6
    assert settings.values()["min_area"] == 20


def test_the_user_may_choose_another_contrast(qtbot: Any, viewer: Any, engine: Any) -> None:
    viewer.add_image(np.zeros((64, 64, 3), np.uint8), rgb=True, name="photo")
    form = _docked(viewer)
    box = form.image._normalisation
    for kind, expected in (("8-bit RGB as it is", AsIs()), ("Min to max", MinMax()), ("Percentiles", Percentile())):
        box.setCurrentIndex(box.findData(kind))
        assert form.chosen_target().image.normalisation == expected


def test_nothing_found_adds_no_layer_and_says_why_until_a_threshold_finds_some(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "The best candidate scored 0.42; the minimum confidence is 0.5."
    maps = {(): np.zeros((3, 128, 160), np.float16)}
    provenance = {**scene.automatic.provenance, "fallbacks": []}
    full = dataclasses.replace(scene.automatic, maps=maps, provenance=provenance)
    none = dataclasses.replace(
        full,
        pixels=np.zeros_like(scene.automatic.labels),
        table=scene.automatic.table.iloc[:0],
        provenance={**provenance, "nothing_found": [why]},
    )
    engine.answer = lambda _: none
    monkeypatch.setattr("napari_foundseg.widgets.automatic.automatic_dock.derive", lambda *_: full)
    viewer.add_image(scene.image, name="cells")
    form = _docked(viewer)
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: form.result.text().startswith("No objects"))
    assert [layer.name for layer in viewer.layers] == ["cells"]
    assert form.notes.isVisible()
    assert form.notes.text() == why
    form.forms["decoder"]._controls["pred_iou_thresh"].value = 0.1
    qtbot.waitUntil(lambda: "cells masks" in viewer.layers)
    np.testing.assert_array_equal(viewer.layers["cells masks"].data, scene.automatic.labels)
    assert not form.notes.isVisible()


def test_all_recorded_fallbacks_are_shown_below_the_result(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    recorded = [
        "there is no GPU here: the CPU was used",
        "out of memory in decoding points: 8 at once instead of more",
        "out of memory in encoding: the CPU is used from here on",
    ]
    provenance = {**scene.automatic.provenance, "fallbacks": recorded}
    engine.answer = lambda _: dataclasses.replace(scene.automatic, provenance=provenance)
    viewer.add_image(scene.image, name="cells")
    form = _docked(viewer)
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(form.notes.isVisible)
    told = form.notes.text().splitlines()
    assert told[:2] == [f"{words[0].upper()}{words[1:]}." for words in recorded[1:]]
    assert "GPU" not in form.notes.text(), "what every result here would say is no news"

"""What is accepted, and what a run finds, goes into the layer that a person chooses, each time as one step."""

from __future__ import annotations

import dataclasses
from typing import Any

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.layers.object_features import read_facts
from napari_foundseg.widgets.prompt.mark_controls import REFINE
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.waits import wait_for_layout

pytestmark = pytest.mark.gui


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def pick(qtbot: Any, combo: Any, text: str) -> None:
    """Choose by the keyboard, as a person does."""
    combo.setFocus()
    way = combo.findText(text) - combo.currentIndex()
    for _ in range(abs(way)):
        qtbot.keyClick(combo, Qt.Key.Key_Down if way > 0 else Qt.Key.Key_Up)
    assert combo.currentText() == text


def docked(viewer: Any, kind: type) -> Any:
    form = kind(viewer)
    viewer.window.add_dock_widget(form, name=kind.__name__)
    return form


def test_an_automatic_mask_is_refined_in_its_own_layer(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Any
) -> None:
    engine.answer = lambda _: scene.prompted
    layer = viewer.add_image(scene.image, name="cells")
    masks = viewer.add_labels(np.where(scene.automatic.labels == 2, 7, 0).astype(np.uint8), name="cells masks")
    masks.data[38:42, 48:52] = 3
    start = masks.data.copy()
    viewer.layers.selection.active = layer
    form = docked(viewer, PromptWidget)
    pick(qtbot, form.acceptance.into.combo, "cells masks")
    pick(qtbot, form.makes, REFINE)
    click(qtbot, form.run_button)
    wait_for_layout(qtbot, viewer)
    canvas.click(layer, (40, 50))
    qtbot.waitUntil(form.accept_button.isEnabled)
    canvas.key(Qt.Key.Key_C)
    assert (masks.data == 3).sum() == scene.masks[0].area
    np.testing.assert_array_equal(masks.data == 7, start == 7)
    assert read_facts(masks)[3]["predicted_iou"] == 0.9
    assert "foundseg objects" not in viewer.layers
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(masks.data, start)
    pick(qtbot, form.acceptance.into.combo, "a new layer")
    pick(qtbot, form.makes, "one new object")
    canvas.click(layer, (40, 50))
    qtbot.waitUntil(form.accept_button.isEnabled)
    canvas.key(Qt.Key.Key_C)
    np.testing.assert_array_equal(masks.data, start)
    assert form.acceptance.into.layer is viewer.layers["foundseg objects"]


@pytest.mark.parametrize("kind", ["elsewhere", "dask"])
def test_a_layer_that_cannot_take_masks_is_refused_when_it_is_picked(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, kind: str
) -> None:
    engine.answer = lambda _: scene.prompted
    layer = viewer.add_image(scene.image, name="cells")
    data = scene.automatic.labels if kind == "elsewhere" else da.from_array(scene.automatic.labels)
    viewer.add_labels(data, name="other", scale=(2, 2) if kind == "elsewhere" else (1, 1))
    viewer.layers.selection.active = layer
    form = docked(viewer, PromptWidget)
    form.acceptance.into.combo.setFocus()
    qtbot.keyClick(form.acceptance.into.combo, Qt.Key.Key_Down)
    if kind == "elsewhere":
        assert "pixel for pixel" in form.messages["inputs"].text()
        assert form.acceptance.into.layer is None
        return
    assert "keeps no changes" in form.messages["inputs"].text()
    click(qtbot, form.acceptance.copy_button)
    assert form.acceptance.into.layer is viewer.layers["other copy"]
    np.testing.assert_array_equal(viewer.layers["other copy"].data, scene.automatic.labels)


def test_a_run_into_a_layer_is_one_step_and_thresholds_replace_it(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dataclasses.replace(scene.automatic, maps={(): np.zeros((3, 128, 160), np.float16)})
    engine.answer = lambda _: found
    fewer = dataclasses.replace(
        found, pixels=np.where(found.labels == 1, 1, 0).astype(np.uint16), table=found.table.iloc[:1]
    )
    monkeypatch.setattr("napari_foundseg.widgets.automatic.automatic_dock.derive", lambda *_: fewer)
    viewer.add_image(scene.image, name="cells")
    mine = viewer.add_labels(np.zeros((128, 160), np.uint8), name="mine")
    mine.data[85:95, 100:110] = 200
    start = mine.data.copy()
    form = docked(viewer, AutomaticWidget)
    pick(qtbot, form.into.combo, "mine")
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "added to 'mine'" in form.result.text())
    expected = np.where((start == 0) & (found.labels > 0), found.labels + 200, start)
    np.testing.assert_array_equal(mine.data, expected)
    assert read_facts(mine)[202]["predicted_iou"] == 0.8
    assert "cells masks" not in viewer.layers
    form.forms["decoder"].set_values({"foreground_threshold": 0.9})
    expected = np.where((start == 0) & (found.labels == 1), 201, start)
    qtbot.waitUntil(lambda: np.array_equal(mine.data, expected))
    assert 202 not in read_facts(mine)
    click(qtbot, form.edits.undo_button)
    np.testing.assert_array_equal(mine.data, start)
    assert read_facts(mine) == {}
    assert not form.edits.undo_button.isEnabled()
    click(qtbot, form.edits.redo_button)
    np.testing.assert_array_equal(mine.data, expected)
    # What a person did since is not taken away by a threshold.
    mine.paint((3, 3), 9)
    painted = mine.data.copy()
    form.forms["decoder"].set_values({"foreground_threshold": 0.2})
    qtbot.waitUntil(lambda: "edited by hand" in form.result.text())
    np.testing.assert_array_equal(mine.data, painted)
    viewer.layers.remove(mine)
    assert form.into.layer is None


def test_a_run_into_a_layer_that_does_not_fit_is_refused_before_it_begins(
    qtbot: Any, viewer: Any, engine: Any, scene: Any
) -> None:
    viewer.add_image(scene.image, name="cells")
    viewer.add_labels(np.zeros((5, 6), np.uint8), name="small")
    form = docked(viewer, AutomaticWidget)
    pick(qtbot, form.into.combo, "small")
    click(qtbot, form.run_button)
    assert not engine.jobs
    assert "(5, 6)" in form.messages["inputs"].text()


def test_an_image_of_equal_shape_swapped_under_its_objects_is_noticed(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Any
) -> None:
    engine.answer = lambda _: scene.prompted
    layer = viewer.add_image(scene.image, name="cells")
    form = docked(viewer, PromptWidget)
    click(qtbot, form.run_button)
    wait_for_layout(qtbot, viewer)

    def accept() -> None:
        canvas.click(layer, (40, 50))
        qtbot.waitUntil(form.accept_button.isEnabled)
        canvas.key(Qt.Key.Key_C)

    accept()
    first = viewer.layers["foundseg objects"]
    before = first.data.copy()
    layer.data = scene.image[::-1].copy()
    accept()
    second = viewer.layers["foundseg objects [1]"]
    assert "other pixels" in form.result.text()
    np.testing.assert_array_equal(first.data, before)
    assert second.data.any()
    # A person may say that it is the same all the same.
    pick(qtbot, form.acceptance.into.combo, "foundseg objects")
    layer.data[:5] += 1
    layer.refresh()
    form.acceptance.into.combo.activated.emit(1)
    viewer.layers.selection.active = form.session.points
    form.candidates.choose(0)
    canvas.click(layer, (60, 90))
    qtbot.waitUntil(form.accept_button.isEnabled)
    assert "foundseg objects [2]" not in viewer.layers

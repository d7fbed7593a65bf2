"""What is known of objects after an edit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt

from napari_foundseg.widgets.layers.object_features import read_facts
from napari_foundseg.widgets.layers.result_layers import object_features
from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from tests.support.waits import wait_for_layout

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]
CTRL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def layer(viewer: Any, engine: Any, scene: Any) -> Labels:
    viewer.add_image(scene.image, name="cells")
    result = scene.automatic
    return viewer.add_labels(result.labels.copy(), name="objects", features=object_features(result))


def true_geometry(layer: Labels, label: int) -> dict[str, int]:
    y, x = np.nonzero(layer.data == label)
    return {"area": len(y), "y0": y.min(), "x0": x.min(), "y1": y.max(), "x1": x.max()}


def assert_edited(layer: Labels, label: int) -> None:
    facts = read_facts(layer)[label]
    assert {name: facts[name] for name in ("area", "y0", "x0", "y1", "x1")} == true_geometry(layer, label)
    assert not {"predicted_iou", "stability_score"} & set(facts)


@pytest.fixture
def form(viewer: Any, layer: Labels, qtbot: Any) -> CorrectWidget:
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Correct")
    wait_for_layout(qtbot, viewer)
    return widget


def test_geometry_is_measured_again_after_merging_and_comes_back(
    layer: Labels, form: CorrectWidget, canvas: Any, viewer: Any
) -> None:
    before = read_facts(layer)
    canvas.click(layer, (40, 50))
    canvas.click(layer, (90, 110), SHIFT)
    canvas.key(Qt.Key.Key_J)
    assert set(read_facts(layer)) == {1}
    assert_edited(layer, 1)
    words = " ".join(layer._get_properties((40, 50)))  # napari's status bar
    assert f"area: {(layer.data == 1).sum()}" in words
    assert "iou" not in words
    canvas.key(Qt.Key.Key_Z, CTRL)
    assert read_facts(layer) == before
    canvas.key(Qt.Key.Key_Z, CTRL | SHIFT)
    assert_edited(layer, 1)


@pytest.mark.parametrize("mode", ["paint", "erase", "fill"])
def test_geometry_is_measured_again_after_a_stroke_of_the_brush(
    layer: Labels, form: CorrectWidget, canvas: Any, mode: str
) -> None:
    before = read_facts(layer)
    layer.selected_label = 1
    layer.brush_size = 9
    layer.mode = mode
    canvas.drag(layer, (90, 110) if mode == "fill" else (40, 50), (90, 110) if mode == "fill" else (40, 80))
    assert_edited(layer, 1)
    assert (2 in read_facts(layer)) == (mode != "fill")
    canvas.key(Qt.Key.Key_Z, CTRL)
    assert read_facts(layer) == before


@pytest.mark.parametrize("key", [Qt.Key.Key_G, Qt.Key.Key_S, Qt.Key.Key_H, Qt.Key.Key_Q])
def test_geometry_is_measured_again_after_each_tool(
    layer: Labels, form: CorrectWidget, canvas: Any, key: Qt.Key
) -> None:
    layer.data[38:43, 48:53] = 0
    layer.data[5:8, 5:8] = 1
    layer.refresh()
    canvas.click(layer, (40, 40))
    form.amount.setValue(3)
    canvas.key(key)
    assert_edited(layer, 1)
    assert read_facts(layer)[2]["predicted_iou"] == pytest.approx(0.8)


def test_the_review_orders_by_no_score_of_an_old_object(
    qtbot: Any, layer: Labels, form: CorrectWidget, canvas: Any
) -> None:
    # 0.64 for object 2, 0.81 for object 1
    layer.selected_label = 2
    layer.mode = "paint"
    canvas.drag(layer, (90, 110), (90, 140))
    layer.mode = "pan_zoom"
    form.choose([])
    canvas.key(Qt.Key.Key_N)
    qtbot.waitUntil(lambda: form.chosen == [1])


def test_a_new_object_has_a_size_like_the_others(layer: Labels, form: CorrectWidget, canvas: Any) -> None:
    layer.selected_label = 7
    layer.mode = "paint"
    canvas.drag(layer, (100, 20), (110, 30))
    assert read_facts(layer)[7]["area"] == (layer.data == 7).sum()
    assert not layer.features[["area", "y0", "x1"]].isna().any().any()

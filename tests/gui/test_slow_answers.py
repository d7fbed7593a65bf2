"""Clear and Cancel while the model is slow, and results of images that have changed meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.core.masks import Mask
from napari_foundseg.core.result import Segmentation
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.waits import wait_for_layout, wait_for_posted

pytestmark = pytest.mark.gui
LEFT = Qt.MouseButton.LeftButton


def docked(qtbot: Any, viewer: Any, kind: type) -> Any:
    form = kind(viewer)
    viewer.window.add_dock_widget(form, name=kind.__name__)
    qtbot.mouseClick(form.run_button, LEFT)
    wait_for_layout(qtbot, viewer)
    return form


def change(viewer: Any, layer: Any, how: str) -> None:
    match how:
        case "removed":
            viewer.layers.remove(layer)
        case "other pixels":
            layer.data = layer.data[::-1].copy()
        case "edited in place":
            layer.data[30:50] = 0
            layer.refresh()
        case "another shape":
            layer.data = np.zeros((64, 64), np.uint16)


CHANGES = {
    "removed": "'cells' was removed",
    "other pixels": "'cells' has other pixels now",
    "edited in place": "'cells' has other pixels now",
    "another shape": "'cells' has another shape now",
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_result_of_an_image_that_has_changed_is_said_to_be_one(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, how: str
) -> None:
    layer = viewer.add_image(scene.image, name="cells")
    form = docked(qtbot, viewer, AutomaticWidget)
    change(viewer, layer, how)
    engine.jobs[0].finish(scene.automatic)
    qtbot.waitUntil(lambda: "cells masks" in viewer.layers)
    assert CHANGES[how] in form.messages["image"].text()
    assert form.messages["image"].isVisible()


def test_an_unchanged_image_is_not_said_to_have_changed(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    layer = viewer.add_image(scene.image, name="cells")
    form = docked(qtbot, viewer, AutomaticWidget)
    layer.data = layer.data.copy()
    layer.name = "renamed"
    engine.jobs[0].finish(scene.automatic)
    qtbot.waitUntil(lambda: "renamed masks" in viewer.layers)
    assert not form.messages["image"].text()


def test_objects_of_other_pixels_are_not_added_to_a_layer(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    layer = viewer.add_image(scene.image, name="cells")
    mine = viewer.add_labels(np.zeros(scene.image.shape, np.uint16), name="mine")
    viewer.layers.selection.active = layer
    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form, name="Automatic")
    form.into.show_layer(mine)
    qtbot.mouseClick(form.run_button, LEFT)
    change(viewer, layer, "other pixels")
    engine.jobs[0].finish(scene.automatic)
    qtbot.waitUntil(lambda: "cells masks" in viewer.layers)
    assert not mine.data.any()
    assert "layer of its own" in form.messages["image"].text()


def test_a_mask_of_pixels_edited_meanwhile_is_dropped_and_said(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Any
) -> None:
    layer = viewer.add_image(scene.image, name="cells")
    form = docked(qtbot, viewer, PromptWidget)
    canvas.click(layer, (40, 50))
    (job,) = engine.jobs
    change(viewer, layer, "edited in place")
    job.finish(scene.prompted)
    qtbot.waitUntil(lambda: "other pixels now" in form.messages["image"].text())
    assert not form.accept_button.isEnabled()
    assert not form.session.preview.layer.data.any()


def test_accepting_while_the_model_loads_says_so(qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Any) -> None:
    layer = viewer.add_image(scene.image, name="cells")
    form = docked(qtbot, viewer, PromptWidget)
    canvas.click(layer, (40, 50))
    canvas.key(Qt.Key.Key_C)
    assert "The model is loading" in form.messages["inputs"].text()
    assert "no mask" not in form.messages["inputs"].text()
    engine.jobs[-1].finish(scene.prompted)
    qtbot.waitUntil(form.accept_button.isEnabled)
    assert not form.messages["inputs"].text()
    canvas.click(layer, (42, 52))
    form.candidates.offer([])
    canvas.key(Qt.Key.Key_C)
    assert "being computed" in form.messages["inputs"].text()


def test_clear_during_a_slow_decode_drops_its_answer(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Any
) -> None:
    layer = viewer.add_image(scene.image, name="cells")
    form = docked(qtbot, viewer, PromptWidget)
    canvas.click(layer, (40, 50))
    canvas.key(Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
    canvas.click(layer, (90, 110))
    first, second = engine.jobs
    first.finish(scene.prompted)
    wait_for_posted(qtbot)
    assert not form.accept_button.isEnabled()
    other = Mask.from_array(scene.automatic.labels == 2, predicted_iou=0.9, label=1)
    table = scene.prompted.table
    labels = (scene.automatic.labels == 2).astype(np.uint16)
    second.finish(Segmentation(labels, table, provenance={"task": "prompt"}, masks=(other,)))
    qtbot.waitUntil(form.accept_button.isEnabled)
    assert form.session.preview.layer.data[90, 110]
    assert not form.session.preview.layer.data[40, 50]

"""A pyramid is worked at the level that fits the view or the objects; what results has the full resolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_foundseg.core.masks import Mask
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.painting import Painting
from napari_foundseg.core.result import Segmentation
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.layers.camera import find_camera
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.waits import wait_for_layout

pytestmark = pytest.mark.gui

SHAPE = (1600, 2000)


@pytest.fixture
def layer(viewer: Any) -> Any:
    whole = np.zeros(SHAPE, np.uint16)
    whole[600:1000, 800:1200] = 1000
    added = viewer.add_image([whole, whole[::2, ::2], whole[::4, ::4]], multiscale=True, name="slide", scale=(0.5, 0.5))
    viewer.reset_view()
    return added


def answer(job: Any) -> Segmentation:
    """A square of 100 by 100 pixels of whatever level was asked."""
    image = job.request.image
    y, x = (n * 3 // 8 for n in image.plane_shape)
    masks = (Mask((y, x, y + 99, x + 99), np.ones((100, 100), bool), label=1),)
    painting = Painting(image.shape, image.label_axes, masks)
    if job.task == "prompt":
        return Segmentation(painting, painting.table(), masks=masks)
    labels = painting.draw()
    return Segmentation(labels, object_table(labels, "YX", predicted_iou=[1.0], stability_score=[1.0]))


def docked(viewer: Any, kind: type) -> Any:
    form = kind(viewer)
    viewer.window.add_dock_widget(form, name=kind.__name__)
    return form


def test_what_is_pointed_at_from_afar_is_decoded_at_a_coarse_level(
    qtbot: Any, viewer: Any, engine: Any, canvas: Any, layer: Any
) -> None:
    engine.answer = answer
    form = docked(viewer, PromptWidget)
    qtbot.waitUntil(form.image.levels.isVisible)
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    wait_for_layout(qtbot, viewer)
    find_camera(viewer).zoom = 0.5  # a pixel of the screen is two of the world, four of the data
    canvas.click(layer, (800, 1000))
    qtbot.waitUntil(form.accept_button.isEnabled)
    request = engine.jobs[-1].request
    image, inputs = request.image, request.inputs
    assert image.shape == (400, 500)
    np.testing.assert_allclose(inputs.prompts[0].points[0], (199.6, 249.6), atol=1.5)
    canvas.key(Qt.Key.Key_C)
    objects = viewer.layers["foundseg objects"]
    assert objects.data.shape == SHAPE
    assert not objects.multiscale
    assert objects.editable
    np.testing.assert_allclose(objects.scale, layer.scale)
    assert 150_000 < objects.data.sum() <= 160_000
    # From near by the same click is looked at in the finest pixels.
    find_camera(viewer).zoom = 3
    find_camera(viewer).center = (0, *layer.data_to_world((800, 1000)))
    canvas.click(layer, (800, 1000))
    qtbot.waitUntil(form.accept_button.isEnabled)
    assert engine.jobs[-1].request.image.shape == SHAPE
    # And a person may choose.
    form.image.levels.setCurrentIndex(2)
    canvas.click(layer, (802, 1002))
    qtbot.waitUntil(lambda: engine.jobs[-1].request.image.shape == (800, 1000))


def test_automatic_masks_are_made_at_the_level_that_fits_the_objects(
    qtbot: Any, viewer: Any, engine: Any, layer: Any
) -> None:
    engine.answer = answer
    form = docked(viewer, AutomaticWidget)
    form.forms["decoder"].set_values({"diameter": 130.0, "min_area": 160})
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "slide masks" in viewer.layers)
    request = engine.jobs[-1].request
    image, settings = request.image, request.settings
    assert image.shape == (400, 500)
    assert settings.diameter == 32.5
    assert settings.min_area == 10
    masks = viewer.layers["slide masks"]
    assert masks.data.shape == SHAPE
    assert masks.data.sum() == 160_000
    assert masks.metadata["foundseg"]["level"] == 2
    qtbot.mouseClick(form.last_run.python_button, Qt.MouseButton.LeftButton)
    text = QApplication.clipboard().text()
    compile(text, "copied", "exec")
    assert "level = fs.Level(image, 2)" in text
    assert "seg = level.result(seg)" in text
    qtbot.mouseClick(form.last_run.command_button, Qt.MouseButton.LeftButton)
    assert "looked at level 2" in " ".join(message.text() for message in form.messages.values())
    form.forms["decoder"].set_values({"diameter": None})
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "slide masks [1]" in viewer.layers)
    assert engine.jobs[-1].request.image.shape == SHAPE


def test_an_image_without_levels_has_no_choice_of_them(viewer: Any, engine: Any) -> None:
    viewer.add_image(np.zeros((20, 30)))
    assert not docked(viewer, PromptWidget).image.levels.isVisible()

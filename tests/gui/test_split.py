"""Splitting with a model, by clicks in a window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from scipy.ndimage import gaussian_filter

from napari_foundseg import load_model
from napari_foundseg.core.errors import EngineError
from napari_foundseg.tasks import find_task
from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from tests.support.waits import wait_for_layout, wait_for_posted

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.fixture
def touching(qtbot: Any, viewer: Any, engine: Any) -> CorrectWidget:
    """Correct on a pair of nuclei without a waist, a dark seam at column 47, taken as one object."""
    y, x = np.indices((96, 110))
    whole = ((y - 48) / 30) ** 2 + ((x - 55) / 34) ** 2 <= 1
    bright = np.where(whole, np.where(np.abs(x - 47) <= 2, 70.0, 150.0), 15.0)
    viewer.add_image(gaussian_filter(bright, 1.2).astype(np.uint8), name="nuclei")
    viewer.add_labels(whole.astype(np.uint16) * 3, name="objects")
    widget = CorrectWidget(viewer)
    widget.split_button.model.choose("foundseg-tiny")
    viewer.window.add_dock_widget(widget, name="Correct")
    wait_for_layout(qtbot, viewer)
    return widget


def split_by_clicks(qtbot: Any, canvas: Any, form: CorrectWidget) -> None:
    canvas.click(form.layer, (48, 60))
    click(qtbot, form.split_button)
    canvas.click(form.layer, (30, 38))
    canvas.click(form.layer, (66, 75))


def answered(job: Any) -> Any:
    """What the engine would answer."""
    request = job.request
    return find_task("split").run(request.image, request.inputs, request.settings, load_model(request.model))


def test_a_split_looks_with_the_model_and_says_so(
    qtbot: Any, viewer: Any, canvas: Any, engine: Any, touching: CorrectWidget
) -> None:
    form = touching
    layer = form.layer
    start = layer.data.copy()
    split_by_clicks(qtbot, canvas, form)
    (job,) = engine.jobs
    assert (job.task, job.request.model) == ("split", "foundseg-tiny")
    assert "Splitting object 3 with foundseg-tiny" in form.state.text()
    np.testing.assert_array_equal(layer.data, start)
    canvas.click(layer, (48, 70))  # the window goes on meanwhile
    job.finish(answered(job))
    qtbot.waitUntil(lambda: "Split into 2, by foundseg-tiny" in form.state.text())
    assert (layer.data[30:66, 30:44] == 3).all()
    assert (layer.data[30:66, 52:80] == 4).all()
    assert form.history.undo_name == "split"
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(layer.data, start)


def test_where_the_model_fails_the_outline_and_the_image_decide(
    qtbot: Any, canvas: Any, engine: Any, touching: CorrectWidget
) -> None:
    form = touching
    split_by_clicks(qtbot, canvas, form)
    engine.jobs[0].fail(EngineError("The engine has stopped."))
    qtbot.waitUntil(lambda: "outline and the image" in form.state.text())
    assert "foundseg-tiny was not used: The engine has stopped." in form.state.text()
    assert set(np.unique(form.layer.data)) == {0, 3, 4}


def test_a_second_press_does_not_wait_for_the_model(
    qtbot: Any, canvas: Any, engine: Any, touching: CorrectWidget
) -> None:
    form = touching
    split_by_clicks(qtbot, canvas, form)
    click(qtbot, form.split_button)
    assert "was not waited for" in form.state.text()
    assert not form.split_button.isChecked()
    after = form.layer.data.copy()
    assert set(np.unique(after)) == {0, 3, 4}
    engine.jobs[0].finish(answered(engine.jobs[0]))  # too late
    wait_for_posted(qtbot)
    np.testing.assert_array_equal(form.layer.data, after)


def test_an_object_that_changes_meanwhile_is_left_as_it_is(
    qtbot: Any, canvas: Any, engine: Any, touching: CorrectWidget
) -> None:
    form = touching
    split_by_clicks(qtbot, canvas, form)
    click(qtbot, form.buttons["Grow"])
    grown = form.layer.data.copy()
    engine.jobs[0].finish(answered(engine.jobs[0]))
    qtbot.waitUntil(lambda: "changed while it was being split" in form.message.text())
    np.testing.assert_array_equal(form.layer.data, grown)


def test_a_layer_that_is_left_is_not_split(
    qtbot: Any, viewer: Any, canvas: Any, engine: Any, touching: CorrectWidget
) -> None:
    form = touching
    layer = form.layer
    split_by_clicks(qtbot, canvas, form)
    viewer.add_labels(np.zeros((96, 110), np.uint8), name="others")
    assert "Object 3 stayed whole" in form.message.text()
    engine.jobs[0].finish(answered(engine.jobs[0]))
    wait_for_posted(qtbot)
    assert set(np.unique(layer.data)) == {0, 3}


def test_without_an_image_no_model_is_asked(
    qtbot: Any, viewer: Any, canvas: Any, engine: Any, touching: CorrectWidget
) -> None:
    viewer.layers.remove("nuclei")
    split_by_clicks(qtbot, canvas, touching)
    assert not engine.jobs
    assert "by its outline alone" in touching.state.text()
    assert set(np.unique(touching.layer.data)) == {0, 3, 4}

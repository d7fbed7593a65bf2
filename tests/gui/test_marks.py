"""Marks by mouse and keyboard: undo of marks before objects, and the other sign by the right button and Alt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.mouse import Canvas
from tests.support.waits import wait_for_layout

pytestmark = pytest.mark.gui

CTRL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
ALT = Qt.KeyboardModifier.AltModifier
NONE = Qt.KeyboardModifier.NoModifier
LEFT = Qt.MouseButton.LeftButton
RIGHT = Qt.MouseButton.RightButton


def open_form(qtbot: Any, viewer: Any, pixels: Any) -> Any:
    viewer.add_image(pixels, name="cells")
    form = PromptWidget(viewer)
    viewer.window.add_dock_widget(form, name="Prompt")
    qtbot.mouseClick(form.run_button, LEFT)
    wait_for_layout(qtbot, viewer)
    return form


@pytest.fixture
def form(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> Any:
    """Armed, over an image of two discs."""
    engine.answer = lambda _: scene.prompted
    return open_form(qtbot, viewer, scene.image)


@pytest.fixture
def undo(canvas: Canvas) -> Callable[[], None]:
    return lambda: canvas.key(Qt.Key.Key_Z, CTRL)


@pytest.fixture
def redo(canvas: Canvas) -> Callable[[], None]:
    return lambda: canvas.key(Qt.Key.Key_Z, CTRL | SHIFT)


def accept_one(qtbot: Any, viewer: Any, form: Any, canvas: Canvas) -> Any:
    canvas.click(viewer.layers["cells"], (40, 50))
    qtbot.waitUntil(form.accept_button.isEnabled)
    canvas.key(Qt.Key.Key_C)
    return viewer.layers["foundseg objects"]


def test_undo_takes_the_pending_click_and_then_the_object(
    qtbot: Any, viewer: Any, form: Any, canvas: Canvas, undo: Any, redo: Any
) -> None:
    assert not form.edits.undo_button.isEnabled()
    objects = accept_one(qtbot, viewer, form, canvas)
    canvas.click(viewer.layers["cells"], (90, 110))
    qtbot.waitUntil(form.accept_button.isEnabled)
    assert "click" in form.edits.undo_button.toolTip()
    undo()
    assert not len(form.session.points.data)
    assert objects.data[40, 50] == 1
    assert not form.accept_button.isEnabled()
    assert "Click removed" in form.edits.state.text()
    undo()
    assert not objects.data.any()
    assert "Object 1 removed" in form.edits.state.text()
    assert not form.edits.undo_button.isEnabled()
    undo()
    assert "Nothing to undo" in form.edits.state.text()
    redo()
    assert objects.data[40, 50] == 1
    assert "Object 1 is back" in form.edits.state.text()
    assert not len(form.session.points.data)
    canvas.key(Qt.Key.Key_Y, CTRL)
    assert len(form.session.points.data) == 1
    assert "Click is back" in form.edits.state.text()
    qtbot.waitUntil(form.accept_button.isEnabled)
    assert viewer.dims.ndisplay == 2


def test_the_buttons_do_what_the_keys_do(qtbot: Any, viewer: Any, form: Any, canvas: Canvas) -> None:
    objects = accept_one(qtbot, viewer, form, canvas)
    canvas.click(viewer.layers["cells"], (90, 110))
    qtbot.mouseClick(form.edits.undo_button, LEFT)
    assert not len(form.session.points.data)
    assert objects.data.any()
    qtbot.mouseClick(form.edits.redo_button, LEFT)
    assert len(form.session.points.data) == 1
    viewer.layers.remove(objects)
    qtbot.mouseClick(form.edits.undo_button, LEFT)
    assert not len(form.session.points.data)
    assert not form.edits.undo_button.isEnabled()  # the layer of the objects is gone


def test_marks_of_all_tools_are_undone_in_the_order_they_were_made(
    qtbot: Any, viewer: Any, form: Any, canvas: Canvas, undo: Any, redo: Any
) -> None:
    cells, session = viewer.layers["cells"], form.session
    canvas.click(cells, (40, 50))
    qtbot.mouseClick(form.marking.tools["shapes"], LEFT)
    canvas.drag(cells, (20, 30), (60, 70))
    assert list(session.boxes.shape_type) == ["rectangle"]
    box = np.array(session.boxes.data[0])
    qtbot.mouseClick(form.marking.tools["brush"], LEFT)
    painted = session.scribble.layer
    canvas.drag(cells, (90, 100), (90, 120))
    stroke = painted.data.copy()
    qtbot.mouseClick(form.marking.tools["points"], LEFT)
    canvas.click(cells, (100, 30), button=RIGHT)
    left = []
    for _ in range(4):
        undo()
        left.append((len(session.points.data), len(session.boxes.data), bool(painted.data.any())))
    assert left == [(1, 1, True), (1, 1, False), (1, 0, False), (0, 0, False)]
    assert session.empty
    said = []
    for _ in range(4):
        redo()
        said.append(form.edits.state.text().splitlines()[0])
    assert said == ["Click is back", "Box is back", "Stroke is back", "Click is back"]
    assert list(session.points.features["polarity"]) == ["positive", "negative"]
    assert [str(symbol) for symbol in session.points.symbol] == ["disc", "diamond"]
    np.testing.assert_array_equal(session.boxes.data[0], box)
    assert list(session.boxes.shape_type) == ["rectangle"]
    np.testing.assert_array_equal(painted.data, stroke)
    canvas.key(Qt.Key.Key_C, SHIFT)
    undo()
    assert session.empty


@pytest.mark.parametrize("mode", ["add_polygon", "add_polyline"])
def test_corners_of_a_shape_being_drawn_are_undone_one_by_one(
    viewer: Any, form: Any, canvas: Canvas, undo: Any, redo: Any, mode: str
) -> None:
    cells, boxes = viewer.layers["cells"], form.session.boxes
    canvas.click(cells, (100, 130))
    form.session.use("shapes")
    boxes.mode = mode
    for place in ((20, 30), (20, 70), (60, 70), (60, 30)):
        canvas.click(cells, place)
        QTest.qWait(20)
    undo()
    assert "Corner removed" in form.edits.state.text()
    assert len(form.session.points.data) == 1
    redo()
    undo()
    canvas.key(Qt.Key.Key_Escape)
    assert len(boxes.data) == 1
    corners = boxes.data[0] if mode == "add_polyline" else boxes.data[0][:3]
    np.testing.assert_allclose(corners[:3], [(20, 30), (20, 70), (60, 70)], atol=1)
    assert len(boxes.data[0]) == 3
    undo()
    assert not len(boxes.data)
    assert len(form.session.points.data) == 1
    undo()
    assert not len(form.session.points.data)


def test_a_click_on_another_slice_is_undone_by_name(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Canvas, undo: Any
) -> None:
    engine.answer = lambda _: scene.prompted
    form = open_form(qtbot, viewer, np.stack([scene.image] * 3))
    viewer.dims.set_current_step(0, 1)
    canvas.click(viewer.layers["cells"], (1, 40, 50))
    viewer.dims.set_current_step(0, 2)
    assert not form.accept_button.isEnabled()
    undo()
    assert not len(form.session.points.data)
    assert "Click on slice 1 removed" in form.edits.state.text()


def test_each_viewer_undoes_its_own_marks(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, form: Any, canvas: Canvas, undo: Any, make_napari_viewer: Any
) -> None:
    other = make_napari_viewer(show=True)
    second = open_form(qtbot, other, scene.image)
    canvas.click(viewer.layers["cells"], (40, 50))
    Canvas(other).click(other.layers["cells"], (40, 50))
    undo()
    assert not len(form.session.points.data)
    assert len(second.session.points.data) == 1
    assert second.edits.undo_button.isEnabled()


@pytest.mark.parametrize(("button", "modifier"), [(RIGHT, NONE), (LEFT, ALT)])
def test_a_stroke_of_the_right_button_or_with_alt_is_not_on_the_object(
    qtbot: Any, viewer: Any, engine: Any, form: Any, canvas: Canvas, button: Any, modifier: Any
) -> None:
    cells = viewer.layers["cells"]
    qtbot.mouseClick(form.marking.tools["brush"], LEFT)
    painted = form.session.scribble.layer
    size = painted.brush_size
    canvas.drag(cells, (40, 40), (40, 60))
    canvas.drag(cells, (80, 40), (80, 60), modifier, button)
    assert painted.data[40, 50] == 1
    assert painted.data[80, 50] == 2
    assert painted.selected_label == 1
    canvas.click(cells, (100, 50), modifier, button)
    assert painted.data[100, 50] == 2
    assert painted.brush_size == size
    qtbot.waitUntil(lambda: 0 in engine.jobs[-1].request.inputs.prompts[0].labels)
    canvas.drag(cells, (20, 40), (20, 60))
    assert painted.data[20, 50] == 1
    qtbot.mouseClick(form.marking.signs.buttons()[1], LEFT)
    canvas.drag(cells, (60, 100), (60, 120), modifier, button)
    assert painted.data[60, 110] == 1
    assert painted.selected_label == 2


def test_a_stroke_keeps_the_sign_that_it_began_with(qtbot: Any, viewer: Any, form: Any, canvas: Canvas) -> None:
    cells = viewer.layers["cells"]
    qtbot.mouseClick(form.marking.tools["brush"], LEFT)
    painted = form.session.scribble.layer
    canvas.press(cells, (40, 40), NONE, LEFT)
    canvas.move(cells, (40, 40), (40, 50), NONE, LEFT)
    canvas.move(cells, (40, 50), (40, 70), ALT, LEFT)
    canvas.release(cells, (40, 70), ALT, LEFT)
    assert set(np.unique(painted.data)) == {0, 1}
    assert painted.data[40, 68] == 1
    assert painted.selected_label == 1


def test_a_stroke_that_leaves_the_canvas_ends_there(qtbot: Any, viewer: Any, form: Any, canvas: Canvas) -> None:
    cells = viewer.layers["cells"]
    qtbot.mouseClick(form.marking.tools["brush"], LEFT)
    painted = form.session.scribble.layer
    canvas.drag(cells, (40, 40), (40, 400), button=RIGHT)
    assert painted.selected_label == 1
    # The release is lost: another window took the mouse.
    canvas.press(cells, (80, 40), NONE, RIGHT)
    assert painted.selected_label == 2
    QTest.mouseMove(canvas.native, QPoint(5, 5))
    canvas.drag(cells, (100, 40), (100, 60))
    assert painted.data[100, 50] == 1
    assert painted.selected_label == 1


def test_areas_and_polygons_have_the_other_sign_too(qtbot: Any, viewer: Any, form: Any, canvas: Canvas) -> None:
    cells = viewer.layers["cells"]
    qtbot.mouseClick(form.marking.tools["brush"], LEFT)
    painted = form.session.scribble.layer
    painted.mode = "fill"
    canvas.click(cells, (5, 5), button=RIGHT)
    assert set(np.unique(painted.data)) == {2}
    painted.selected_label = 3
    canvas.click(cells, (5, 5))
    assert set(np.unique(painted.data)) == {3}
    painted.mode = "polygon"
    for button, modifier in ((RIGHT, NONE), (LEFT, ALT)):
        painted.data = np.zeros_like(painted.data)
        for place in ((20, 30), (20, 70), (60, 70), (60, 30)):
            canvas.click(cells, place, modifier, button)
            QTest.qWait(20)
        assert painted.selected_label == 2
        QTest.mouseDClick(canvas.native, button, modifier, canvas.place(cells, (60, 30)))
        assert painted.data[40, 50] == 2
        assert painted.selected_label == 3

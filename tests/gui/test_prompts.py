"""Prompts from layers: the brush, labels of other layers, the preview under the pointer, and what may go wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_foundseg.core.errors import EngineError
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.waits import wait_for_layout, wait_for_posted, wait_for_timers

pytestmark = pytest.mark.gui


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.fixture
def form(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> Any:
    """Armed, over an image of two discs."""
    engine.answer = lambda _: scene.prompted
    viewer.add_image(scene.image, name="cells")
    widget = PromptWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Prompt")
    click(qtbot, widget.run_button)
    wait_for_layout(qtbot, viewer)
    return widget


def point(form: Any, y: float = 40, x: float = 50) -> None:
    form.session.points.add([(y, x)])


def last(engine: Any) -> Any:
    return engine.jobs[-1].request.inputs.prompts


def test_a_stroke_of_the_brush_is_a_prompt_when_it_ends(
    qtbot: Any, viewer: Any, engine: Any, form: Any, canvas: Any
) -> None:
    assert "foundseg scribble" not in viewer.layers
    click(qtbot, form.marking.tools["brush"])
    scribble = viewer.layers["foundseg scribble"]
    assert viewer.layers.selection.active is scribble
    assert scribble.mode == "paint"
    canvas.drag(viewer.layers["cells"], (40, 40), (40, 60))
    qtbot.waitUntil(form.accept_button.isEnabled)
    assert len(engine.jobs) == 1  # not one for each move
    (prompt,) = last(engine)
    assert prompt.mask is None
    assert set(prompt.labels) == {1}
    points = np.array(prompt.points)
    np.testing.assert_allclose(points[:, 0], 40, atol=2)
    assert np.ptp(points[:, 1]) > 12
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not form.accept_button.isEnabled()
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(form.accept_button.isEnabled)
    click(qtbot, form.marking.signs.buttons()[1])
    canvas.drag(viewer.layers["cells"], (80, 40), (80, 60))
    qtbot.waitUntil(lambda: 0 in last(engine)[0].labels)
    canvas.key(Qt.Key.Key_C)
    assert viewer.layers["foundseg objects"].data[40, 50] == 1
    assert not scribble.data.any()
    assert viewer.layers.selection.active is scribble


def test_a_label_of_another_layer_is_a_prompt(qtbot: Any, viewer: Any, engine: Any, scene: Any, form: Any) -> None:
    coarse = viewer.add_labels(scene.automatic.labels[::2, ::2].copy(), name="coarse", scale=(2, 2))
    before = coarse.data.copy()
    assert form.marking.labels.layer is coarse
    coarse.selected_label = 2
    assert form.marking.label.value() == 2
    click(qtbot, form.marking.take_button)
    qtbot.waitUntil(form.accept_button.isEnabled)
    (prompt,) = last(engine)
    truth = scene.automatic.labels == 2
    assert (prompt.mask & truth).sum() / (prompt.mask | truth).sum() > 0.9
    np.testing.assert_array_equal(coarse.data, before)
    form.marking.label.setValue(7)
    click(qtbot, form.marking.take_button)
    assert "Label 7 of 'coarse' is not on this slice" in form.messages["inputs"].text()
    assert "1, 2" in form.messages["inputs"].text()
    form.marking.label.setValue(1)
    click(qtbot, form.marking.take_button)
    qtbot.waitUntil(lambda: len(last(engine)) == 2)


def test_the_pointer_shows_what_a_click_would_make(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, form: Any, canvas: Any
) -> None:
    cells, preview = viewer.layers["cells"], viewer.layers["foundseg preview"]
    viewer.layers.selection.active = form.session.points
    qtbot.mouseMove(canvas.native, canvas.place(cells, (30, 30)))
    wait_for_timers(qtbot, form)
    assert not engine.jobs  # the model has not shown how quick it is
    form.pointer.box.click()
    for x in (40, 50):
        qtbot.mouseMove(canvas.native, canvas.place(cells, (40, x)))
        qtbot.wait(20)
    qtbot.waitUntil(lambda: bool(preview.data.any()))
    np.testing.assert_allclose(last(engine)[0].points, [(40, 50)], atol=1)
    assert engine.jobs[-1].replace.startswith("pointer")
    assert set(np.unique(preview.data)) == {0, 2}
    assert (preview.data > 0).sum() < 0.6 * scene.masks[0].area
    assert not form.accept_button.isEnabled()
    assert not form.candidates.isVisible()
    form.accept()
    assert "no mask to accept" in form.messages["inputs"].text()
    assert "foundseg objects" not in viewer.layers
    viewer.mouse_over_canvas = False
    assert not preview.data.any()
    viewer.mouse_over_canvas = True
    qtbot.mouseMove(canvas.native, canvas.place(cells, (42, 52)))
    qtbot.waitUntil(lambda: bool(preview.data.any()))
    canvas.click(cells, (40, 50))
    qtbot.waitUntil(form.accept_button.isEnabled)
    assert set(np.unique(preview.data)) == {0, 1}
    count = len(engine.jobs)
    qtbot.mouseMove(canvas.native, canvas.place(cells, (60, 60)))
    wait_for_timers(qtbot, form)
    assert len(engine.jobs) == count  # a real prompt is there
    assert set(np.unique(preview.data)) == {0, 1}


def test_the_key_accepts_what_is_outlined_under_the_pointer(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, form: Any, canvas: Any
) -> None:
    cells, preview = viewer.layers["cells"], viewer.layers["foundseg preview"]
    form.pointer.box.click()
    viewer.layers.selection.active = form.session.points
    canvas.hover(cells, (40, 50))
    qtbot.waitUntil(lambda: bool(preview.data.any()))
    canvas.key(Qt.Key.Key_C)
    objects = viewer.layers["foundseg objects"]
    np.testing.assert_array_equal(objects.data == 1, scene.prompted.labels > 0)
    assert "Accepted object 1" in form.result.text()
    assert not preview.data.any()
    assert form.session.empty
    canvas.key(Qt.Key.Key_C)  # the pointer has not moved: there is nothing to accept
    assert objects.data.max() == 1
    assert "no mask to accept" in form.messages["inputs"].text()
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not objects.data.any()
    for leave in (
        lambda: canvas.key(Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier),
        lambda: form.makes.setCurrentText("an object each"),
        lambda: cells.events.data(value=cells.data),
    ):
        canvas.hover(cells, (40, 50))
        qtbot.waitUntil(lambda: bool(preview.data.any()))
        leave()
        qtbot.waitUntil(lambda: not preview.data.any())
        canvas.key(Qt.Key.Key_C)  # it is not shown any more
        assert not objects.data.any()


def test_a_better_outline_is_shown_under_the_pointer_and_accepted_by_the_key(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, form: Any, canvas: Any
) -> None:
    cells, preview = viewer.layers["cells"], viewer.layers["foundseg preview"]
    form.pointer.box.click()
    objects = viewer.add_labels(np.zeros(scene.image.shape, int), name="mine")
    objects.data[40:60, 40:60] = 7
    objects.data[30:36, 45:55] = 2
    form.acceptance.into.combo.setCurrentText("mine")
    form.acceptance.into.picked.emit()
    before = objects.data.copy()
    form.makes.setCurrentText("a better outline")
    viewer.layers.selection.active = form.session.points
    for modifier, sign in ((Qt.KeyboardModifier.NoModifier, 1), (Qt.KeyboardModifier.AltModifier, 0)):
        count = len(engine.jobs)
        canvas.hover(cells, (45, 61 + sign), modifier)
        qtbot.waitUntil(lambda count=count: len(engine.jobs) > count)
        qtbot.waitUntil(lambda: bool(preview.data.any()))
        (prompt,) = last(engine)
        assert prompt.labels == (sign,)
        np.testing.assert_array_equal(prompt.mask, before == 7)
    canvas.key(Qt.Key.Key_C, Qt.KeyboardModifier.AltModifier)
    np.testing.assert_array_equal(objects.data == 2, before == 2)
    np.testing.assert_array_equal(objects.data == 7, (scene.prompted.labels > 0) & (before != 2))
    # A click chooses its own object, not the one of the preview before.
    canvas.hover(cells, (45, 61))
    qtbot.waitUntil(lambda: bool(preview.data.any()))
    canvas.click(cells, (33, 50))
    qtbot.waitUntil(form.accept_button.isEnabled)
    np.testing.assert_array_equal(last(engine)[0].mask, before == 2)


def test_a_mark_beside_nothing_has_no_preview(qtbot: Any, viewer: Any, engine: Any, form: Any, canvas: Any) -> None:
    form.pointer.box.click()
    viewer.layers.selection.active = form.session.points
    canvas.hover(viewer.layers["cells"], (40, 50), Qt.KeyboardModifier.AltModifier)
    wait_for_timers(qtbot, form)
    form.makes.setCurrentText("a better outline")
    canvas.hover(viewer.layers["cells"], (40, 51))
    wait_for_timers(qtbot, form)
    assert not engine.jobs
    assert not form.messages["inputs"].text()


def test_the_pointers_answer_never_comes_after_a_click(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, form: Any, canvas: Any
) -> None:
    engine.answer = None
    cells, preview = viewer.layers["cells"], viewer.layers["foundseg preview"]
    form.pointer.box.click()
    qtbot.mouseMove(canvas.native, canvas.place(cells, (30, 30)))
    qtbot.waitUntil(lambda: len(engine.jobs) == 1)
    for x in (40, 50, 60):  # one at a time: no crowd of questions
        qtbot.mouseMove(canvas.native, canvas.place(cells, (40, x)))
        wait_for_timers(qtbot, form)
    assert len(engine.jobs) == 1
    canvas.click(cells, (40, 50))
    qtbot.waitUntil(lambda: len(engine.jobs) == 2)
    guess, real = engine.jobs
    guess.finish(scene.prompted)
    wait_for_posted(qtbot)
    assert not preview.data.any()
    assert not form.accept_button.isEnabled()
    real.finish(scene.prompted)
    qtbot.waitUntil(form.accept_button.isEnabled)
    assert preview.data.max() == 1


def test_a_slow_model_is_not_asked_by_itself_and_the_form_says_so(viewer: Any, form: Any) -> None:
    form.pointer.learn(9)  # the engine had to start
    assert not form.pointer.note.isVisible()
    form.pointer.learn(0.05)
    assert form.pointer.box.isChecked()
    for _ in range(3):
        form.pointer.learn(0.5)
    assert not form.pointer.box.isChecked()
    assert "0.5 s" in form.pointer.note.text()
    form.pointer.box.click()
    form.pointer.learn(0.5)
    assert form.pointer.box.isChecked()


@pytest.mark.parametrize("which", ["cells", "foundseg points", "foundseg shapes", "foundseg preview", "all"])
def test_a_layer_deleted_while_pointing_ends_it_and_keeps_what_was_accepted(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, form: Any, which: str
) -> None:
    point(form)
    qtbot.waitUntil(form.accept_button.isEnabled)
    form.accept()
    engine.answer = None
    point(form)
    if which == "all":
        viewer.layers.selection = {viewer.layers[n] for n in ("foundseg points", "foundseg shapes", "foundseg preview")}
        viewer.layers.remove_selected()
    else:
        viewer.layers.remove(viewer.layers[which])
    qtbot.waitUntil(lambda: form.session is None)
    assert "was removed, so pointing has stopped" in form.messages["image"].text()
    assert form.run_button.text() == "Start pointing"
    assert engine.jobs[-1].state == "cancelled"
    engine.jobs[-1].finish(scene.prompted)
    wait_for_posted(qtbot)
    assert {layer.name for layer in viewer.layers} == {"foundseg objects"} | ({"cells"} - {which})
    assert (viewer.layers["foundseg objects"].data == 1).sum() == scene.masks[0].area
    if which != "cells":
        click(qtbot, form.run_button)
        engine.answer = lambda _: scene.prompted
        point(form)
        qtbot.waitUntil(form.accept_button.isEnabled)


def test_layers_may_be_renamed_reordered_and_hidden(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, form: Any
) -> None:
    engine.answer = None
    point(form)
    for layer in viewer.layers:
        layer.name = f"my {layer.name}"
        layer.visible = layer.name == "my cells"
    viewer.layers.reverse()
    engine.jobs[-1].finish(scene.prompted)
    qtbot.waitUntil(form.accept_button.isEnabled)
    form.accept()
    assert (viewer.layers["foundseg objects"].data == 1).sum() == scene.masks[0].area


def test_a_deleted_scribble_is_no_prompt_any_more(qtbot: Any, viewer: Any, engine: Any, form: Any) -> None:
    click(qtbot, form.marking.tools["brush"])
    viewer.layers["foundseg scribble"].paint((40, 50), 1)
    qtbot.waitUntil(form.accept_button.isEnabled)
    viewer.layers.remove("foundseg scribble")
    qtbot.waitUntil(lambda: not form.accept_button.isEnabled())
    click(qtbot, form.marking.tools["brush"])
    assert "foundseg scribble" in viewer.layers


@pytest.mark.parametrize("kind", ["dask", "read-only", "memmap", "locked"])
def test_objects_that_cannot_be_written_are_named_and_a_copy_offered(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, form: Any, kind: str, tmp_path: Any
) -> None:
    import dask.array as da

    point(form)
    qtbot.waitUntil(form.accept_button.isEnabled)
    form.accept()
    objects = viewer.layers["foundseg objects"]
    held = objects.data.copy()
    if kind == "dask":
        objects.data = da.from_array(held)
    elif kind == "memmap":
        mapped = np.memmap(tmp_path / "labels.raw", held.dtype, "w+", shape=held.shape)
        mapped[:] = held
        objects.data = mapped
    elif kind == "read-only":
        objects.data.flags.writeable = False
    else:
        objects.editable = False
    point(form)
    form.overlap.setCurrentText("overwrite")
    qtbot.waitUntil(form.accept_button.isEnabled)
    form.accept()
    assert "Press 'Make an editable copy'" in form.messages["inputs"].text()
    np.testing.assert_array_equal(np.asarray(objects.data), held)
    assert form.accept_button.isEnabled()  # nothing is lost
    click(qtbot, form.acceptance.copy_button)
    form.accept()
    copy = viewer.layers["foundseg objects copy"]
    assert (copy.data == 2).sum() == scene.masks[0].area
    np.testing.assert_array_equal(np.asarray(objects.data), held)


@pytest.mark.parametrize(("button", "modifier"), [("LeftButton", "AltModifier"), ("RightButton", "NoModifier")])
def test_a_right_click_or_alt_marks_what_is_not_the_object(
    qtbot: Any, viewer: Any, engine: Any, form: Any, canvas: Any, button: str, modifier: str
) -> None:
    layer = viewer.layers["cells"]
    canvas.click(layer, (40, 50))
    qtbot.waitUntil(lambda: bool(engine.jobs))
    place = canvas.place(layer, (60, 90))
    QTest.mouseMove(canvas.native, place)
    QTest.mouseClick(canvas.native, getattr(Qt.MouseButton, button), getattr(Qt.KeyboardModifier, modifier), place)
    qtbot.waitUntil(lambda: len(form.session.points.data) == 2)
    assert form.session.points.features["polarity"].tolist() == ["positive", "negative"]
    assert [str(symbol) for symbol in form.session.points.symbol] == ["disc", "diamond"]
    qtbot.waitUntil(lambda: engine.jobs[-1].request.inputs.prompts[0].labels == (1, 0))


def test_the_slice_moved_during_a_decode_leaves_no_mask_behind(
    qtbot: Any, viewer: Any, engine: Any, scene: Any
) -> None:
    viewer.add_image(np.stack([scene.image] * 4), name="stack")
    viewer.dims.set_current_step(0, 1)
    form = PromptWidget(viewer)
    viewer.window.add_dock_widget(form)
    click(qtbot, form.run_button)
    form.session.points.add([(1, 40, 50)])
    viewer.dims.set_current_step(0, 2)
    engine.jobs[0].finish(dataclasses.replace(scene.prompted, masks=(dataclasses.replace(scene.masks[0], index=(1,)),)))
    wait_for_posted(qtbot)
    assert not form.accept_button.isEnabled()
    assert not viewer.layers["foundseg preview"].data.any()
    viewer.dims.set_current_step(0, 1)
    assert len(engine.jobs) == 2


def test_a_point_beyond_the_images_slices_is_refused_in_words(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    viewer.add_image(np.zeros((9, 128, 160)), name="longer")
    viewer.add_image(np.stack([scene.image] * 4), name="stack")
    form = PromptWidget(viewer)
    viewer.window.add_dock_widget(form)
    click(qtbot, form.run_button)
    viewer.dims.set_current_step(0, 7)
    form.session.points.add([(7, 40, 50)])
    assert "Move the slider" in form.messages["inputs"].text()
    assert not engine.jobs
    viewer.dims.set_current_step(0, 1)
    form.session.points.add([(1, 40, 50)])
    assert len(engine.jobs) == 1


def test_an_image_swapped_under_its_prompts(qtbot: Any, viewer: Any, engine: Any, scene: Any, form: Any) -> None:
    point(form)
    qtbot.waitUntil(form.accept_button.isEnabled)
    form.accept()
    held = viewer.layers["foundseg objects"].data.copy()
    point(form)
    count = len(engine.jobs)
    viewer.layers["cells"].data = scene.image[::-1].copy()
    qtbot.waitUntil(lambda: len(engine.jobs) > count)
    np.testing.assert_array_equal(engine.jobs[-1].request.image.levels[0], scene.image[::-1])
    viewer.layers["cells"].data = scene.image[:100, :100].copy()
    qtbot.waitUntil(lambda: form.session is None)
    assert "another shape" in form.messages["image"].text()
    np.testing.assert_array_equal(viewer.layers["foundseg objects"].data, held)
    click(qtbot, form.run_button)
    point(form, 20, 20)
    qtbot.waitUntil(form.accept_button.isEnabled)


def test_two_viewers_do_not_displace_each_others_clicks(
    qtbot: Any, viewer: Any, make_napari_viewer: Any, engine: Any, scene: Any, form: Any
) -> None:
    other = make_napari_viewer(show=True)
    other.add_image(scene.image, name="cells")
    second = PromptWidget(other)
    other.window.add_dock_widget(second)
    click(qtbot, second.run_button)
    engine.answer = None
    point(form)
    point(second)
    first_job, second_job = engine.jobs[-2:]
    assert first_job.replace != second_job.replace
    second_job.finish(scene.prompted)
    qtbot.waitUntil(second.accept_button.isEnabled)
    assert not form.accept_button.isEnabled()
    second.accept()
    assert "foundseg objects" in other.layers
    assert "foundseg objects" not in viewer.layers
    first_job.finish(scene.prompted)
    qtbot.waitUntil(form.accept_button.isEnabled)


def test_a_hundred_points_at_once_are_one_question(qtbot: Any, viewer: Any, engine: Any, form: Any) -> None:
    form.makes.setCurrentText("an object each")
    engine.answer = None
    form.session.points.add([(y, x) for y in range(10, 110, 10) for x in range(10, 110, 10)])
    assert len(engine.jobs) == 1
    assert len(last(engine)) == 100


def test_a_fault_of_the_model_leaves_the_form_alive(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, form: Any
) -> None:
    engine.answer = None
    point(form)
    engine.jobs[-1].fail(EngineError("The engine was stopped."))
    qtbot.waitUntil(lambda: "stopped" in form.messages["run"].text())
    engine.answer = lambda _: scene.prompted
    point(form, 41, 51)
    qtbot.waitUntil(form.accept_button.isEnabled)


def test_the_form_closed_while_the_pointer_is_asked_lets_everything_go(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Any
) -> None:
    viewer.add_image(scene.image, name="cells")
    form = PromptWidget(viewer)
    dock = viewer.window.add_dock_widget(form)
    click(qtbot, form.run_button)
    click(qtbot, form.marking.tools["brush"])
    click(qtbot, form.marking.tools["points"])
    form.pointer.box.click()
    points, scribble = form.session.points, viewer.layers["foundseg scribble"]
    form_pointer = form.pointer
    wait_for_layout(qtbot, viewer)
    canvas.hover(viewer.layers["cells"], (40, 50))
    qtbot.waitUntil(lambda: len(engine.jobs) == 1)
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    form.deleteLater()
    qtbot.waitUntil(lambda: engine.jobs[0].state == "cancelled")
    assert form_pointer not in [getattr(act, "__self__", None) for act in points.mouse_move_callbacks]
    assert not scribble.keymap
    scribble.paint((40, 50), 1)
    viewer.layers.remove(points)
    viewer.mouse_over_canvas = not viewer.mouse_over_canvas
    assert len(engine.jobs) == 1


def test_the_viewer_closed_while_a_mask_is_made_ends_it(
    qtbot: Any, make_napari_viewer: Any, engine: Any, scene: Any
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(scene.image, name="cells")
    form = PromptWidget(viewer)
    viewer.window.add_dock_widget(form)
    click(qtbot, form.run_button)
    form.session.points.add([(40, 50)])
    viewer.close()
    qtbot.waitUntil(lambda: engine.jobs[0].state == "cancelled")
    engine.jobs[0].finish(scene.prompted)
    wait_for_posted(qtbot)


def test_the_persons_layers_keep_every_attribute(qtbot: Any, viewer: Any, engine: Any, scene: Any, form: Any) -> None:
    mine = viewer.add_labels(
        scene.automatic.labels.copy(), name="mine", scale=(2, 2), translate=(1, 3), opacity=0.3, metadata={"a": 1}
    )
    cells = viewer.layers["cells"]

    def state(layer: Any) -> dict[str, str]:
        return {k: repr(v) for k, v in layer.as_layer_data_tuple()[1].items()}

    before = [state(layer) for layer in (mine, cells)]
    click(qtbot, form.marking.take_button)
    point(form)
    qtbot.waitUntil(form.accept_button.isEnabled)
    form.accept()
    assert [state(layer) for layer in (mine, cells)] == before
    np.testing.assert_array_equal(mine.data, scene.automatic.labels)
    np.testing.assert_array_equal(cells.data, scene.image)


def test_napari_refuses_float_ids() -> None:
    with pytest.raises(TypeError, match="integer"):
        Labels(np.zeros((4, 4)))


def test_a_place_outside_the_image_asks_nothing(qtbot: Any, viewer: Any, engine: Any, form: Any, canvas: Any) -> None:
    form.pointer.box.click()
    qtbot.mouseMove(canvas.native, QPoint(2, 2))
    qtbot.mouseMove(canvas.native, QPoint(4, 4))
    wait_for_timers(qtbot, form)
    assert not engine.jobs

"""Propagation in a window, by clicks: mark, run, correct, undo, pause, and layers that go away meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QWidget
from skimage.draw import disk

import napari_foundseg as fs
from napari_foundseg.core.errors import ServerError
from napari_foundseg.core.masks import Mask
from napari_foundseg.io.journal import journal_folder, kept_journals, read_journal
from napari_foundseg.widgets.propagate.propagate_dock import PropagateWidget
from tests.support.waits import wait_for_layout

pytestmark = pytest.mark.gui

SLICES = 12


def click(qtbot: Any, button: Any) -> None:
    qtbot.waitUntil(button.isEnabled)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def stack() -> np.ndarray:
    rows, columns = disk((60, 70), 14)
    made = np.random.default_rng(0).normal(50, 8, (SLICES, 128, 160))
    made[2:10, rows, columns] += 120
    return np.clip(made, 0, 255).astype(np.uint8)


def docked(viewer: Any) -> PropagateWidget:
    form = PropagateWidget(viewer)
    viewer.window.add_dock_widget(form)
    return form


def finished(qtbot: Any, form: Any) -> None:
    qtbot.waitUntil(lambda: form.current is None, timeout=120_000)


def filled(labels: Any, label: int = 1) -> list[int]:
    return [int(z) for z in np.flatnonzero((np.asarray(labels.data) == label).any((1, 2)))]


def test_from_a_click_to_all_slices_a_correction_and_back(qtbot: Any, viewer: Any, canvas: Any) -> None:
    image = viewer.add_image(stack(), name="stack")
    form = docked(viewer)
    viewer.dims.set_point(0, 5)
    assert "No object is marked" in form.marks.words.text()
    click(qtbot, form.marks.point_button)
    wait_for_layout(qtbot, viewer)
    canvas.click(image, (5, 60, 70))
    qtbot.waitUntil(lambda: form.marks.words.text() == "1 marked")
    assert "about" in form.words.text()
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "stack propagated" in viewer.layers, timeout=120_000)
    labels = viewer.layers["stack propagated"]
    labels.name = "mine"
    viewer.add_labels(np.zeros((SLICES, 128, 160), np.uint8), name="stack propagated")
    finished(qtbot, form)
    assert filled(labels) == list(range(2, 10)), form.messages["run"].text()
    assert not viewer.layers["stack propagated"].data.any()
    assert set(form.strip.confidence) == set(range(2, 10))
    first = labels.data.copy()

    click(qtbot, form.worst_button)
    assert viewer.dims.current_step[0] == form.strip.worst
    place = QPoint(round(form.strip.width() * 6.5 / SLICES), 10)
    qtbot.mouseClick(form.strip, Qt.MouseButton.LeftButton, pos=place)
    assert viewer.dims.current_step[0] == 6
    viewer.dims.set_point(0, 8)
    viewer.layers.selection.active = labels
    labels.selected_label = 1
    labels.brush_size = 9
    labels.mode = "erase"
    canvas.drag(labels, (8, 60, 60), (8, 60, 80))
    corrected = labels.data[8].copy()
    assert 0 < (corrected == 1).sum() < (first[8] == 1).sum()
    click(qtbot, form.recompute_button)
    finished(qtbot, form)
    assert form.messages["run"].text() == ""
    np.testing.assert_array_equal(labels.data[8], corrected)
    # Halfway to the marked slice nothing changes.
    np.testing.assert_array_equal(labels.data[:7], first[:7])

    journal = [
        read_journal(kept.path).labels for kept in kept_journals(journal_folder()) if kept.header.layer == "mine"
    ]
    qtbot.waitUntil(lambda: form.edits.undo_button.isEnabled())
    assert len(journal) == 1
    for _ in range(2):
        click(qtbot, form.edits.undo_button)
    np.testing.assert_array_equal(labels.data, first)
    click(qtbot, form.edits.undo_button)
    assert not labels.data.any()
    assert not form.edits.undo_button.isEnabled()


class Sent:
    """A run of the fake engine, whose parts a test sends by hand."""

    def __init__(self, form: Any) -> None:
        self._form = form

    def part(self, at: int, label: int = 1, size: int = 10) -> None:
        mask = np.zeros((128, 160), bool)
        mask[50 : 50 + size, 60 : 60 + size] = True
        made = Mask.from_array(mask, index=(at,), label=label, predicted_iou=0.5 + at / 100)
        self._form._follower.shown.emit({"parts": [((at,), {label: made})]})


def marked(qtbot: Any, viewer: Any, canvas: Any) -> tuple[Any, Any]:
    image = viewer.add_image(stack(), name="stack")
    form = docked(viewer)
    viewer.dims.set_point(0, 5)
    click(qtbot, form.marks.point_button)
    wait_for_layout(qtbot, viewer)
    canvas.click(image, (5, 60, 70))
    qtbot.waitUntil(lambda: form.marks.words.text() == "1 marked")
    return form, image


def test_cancel_keeps_what_is_done_as_one_step(qtbot: Any, viewer: Any, canvas: Any, engine: Any) -> None:
    form, _ = marked(qtbot, viewer, canvas)
    click(qtbot, form.run_button)
    for at in (5, 6, 7):
        Sent(form).part(at)
    labels = viewer.layers["stack propagated"]
    assert filled(labels) == [5, 6, 7]
    click(qtbot, form.cancel_button)
    assert filled(labels) == [5, 6, 7]
    assert "3 slices" in form.result.text()
    click(qtbot, form.edits.undo_button)
    assert not labels.data.any()
    assert not form.edits.undo_button.isEnabled()


def test_pause_and_resume_do_the_slices_that_are_left(qtbot: Any, viewer: Any, canvas: Any, engine: Any) -> None:
    form, _ = marked(qtbot, viewer, canvas)
    click(qtbot, form.run_button)
    for at in (5, 6, 7):
        Sent(form).part(at)
    click(qtbot, form.pause_button)
    assert form.pause_button.text() == "Resume"
    click(qtbot, form.pause_button)
    rest = form.current.request.inputs
    assert (rest.first, rest.last) in [(0, 5), (7, 11)]
    assert [prompt.index[0] in (5, 7) for prompt in rest.prompts[1]] == [True]
    assert rest.prompts[1][0].mask.sum() == 100


def test_a_run_that_finds_nothing_leaves_no_layer(qtbot: Any, viewer: Any, canvas: Any, engine: Any) -> None:
    form, image = marked(qtbot, viewer, canvas)
    before = list(viewer.layers)
    click(qtbot, form.run_button)
    engine.jobs[-1].fail(ServerError("http://localhost:1 cannot be reached."))
    qtbot.waitUntil(lambda: "cannot be reached" in " ".join(message.text() for message in form.messages.values()))
    assert list(viewer.layers) == before
    assert form.into.layer is None
    click(qtbot, form.run_button)
    click(qtbot, form.cancel_button)
    assert form.result.text() == "Cancelled; no layer was changed."
    assert list(viewer.layers) == before

    # Paused before the first slice: all of it is left to do, and then there is a layer.
    click(qtbot, form.run_button)
    click(qtbot, form.pause_button)
    assert list(viewer.layers) == before
    click(qtbot, form.pause_button)
    Sent(form).part(5, size=0)
    assert list(viewer.layers) == before
    Sent(form).part(5)
    labels = viewer.layers["stack propagated"]
    assert filled(labels) == [5]
    assert form.into.layer is labels
    assert viewer.layers.selection.active is not labels, "the tool in use stays active"
    assert image in viewer.layers


def test_removing_the_layer_ends_the_run_with_one_message(qtbot: Any, viewer: Any, canvas: Any, engine: Any) -> None:
    form, _ = marked(qtbot, viewer, canvas)
    click(qtbot, form.run_button)
    Sent(form).part(5)
    viewer.layers.remove("stack propagated")
    qtbot.waitUntil(lambda: form.current is None)
    assert form.messages["run"].text() == "'stack propagated' was removed, so propagation has stopped."
    assert "stack propagated" not in viewer.layers


def test_removing_the_layer_after_the_run_does_not_speak_of_a_run(
    qtbot: Any, viewer: Any, canvas: Any, engine: Any
) -> None:
    form, _ = marked(qtbot, viewer, canvas)
    click(qtbot, form.run_button)
    Sent(form).part(5)
    click(qtbot, form.cancel_button)
    viewer.layers.remove("stack propagated")
    said = form.messages["run"].text()
    assert "'stack propagated' was removed" in said
    assert "stopped" not in said
    assert not form.recompute_button.isEnabled()


def test_other_data_of_another_shape_end_the_run_and_are_left_alone(
    qtbot: Any, viewer: Any, canvas: Any, engine: Any
) -> None:
    form, _ = marked(qtbot, viewer, canvas)
    click(qtbot, form.run_button)
    Sent(form).part(5)
    labels = viewer.layers["stack propagated"]
    labels.data = np.zeros((SLICES, 64, 64), np.uint8)
    Sent(form).part(6)
    qtbot.waitUntil(lambda: form.current is None)
    assert form.messages["run"].text() == "'stack propagated' has another shape now, so propagation has stopped."
    assert not labels.data.any()


def test_the_3d_display_does_not_stop_a_run(qtbot: Any, viewer: Any, canvas: Any, engine: Any) -> None:
    form, _ = marked(qtbot, viewer, canvas)
    click(qtbot, form.run_button)
    viewer.dims.ndisplay = 3
    Sent(form).part(6)
    assert filled(viewer.layers["stack propagated"]) == [6]
    click(qtbot, form.cancel_button)
    click(qtbot, form.run_button)
    assert "2-D view" in form.messages["inputs"].text()


def test_ids_are_above_every_id_that_the_layer_has_held(qtbot: Any, viewer: Any, canvas: Any, engine: Any) -> None:
    form, _ = marked(qtbot, viewer, canvas)
    click(qtbot, form.run_button)
    Sent(form).part(5)
    click(qtbot, form.cancel_button)
    click(qtbot, form.edits.undo_button)
    click(qtbot, form.run_button)
    assert list(form.current.request.inputs.prompts) == [2]


def test_an_object_of_a_layer_is_followed_and_others_keep_their_pixels(qtbot: Any, viewer: Any, engine: Any) -> None:
    viewer.add_image(stack(), name="stack")
    data = np.zeros((SLICES, 128, 160), np.uint8)
    data[4, 55:65, 65:75] = 7
    data[5, 52:56, 60:64] = 3
    labels = viewer.add_labels(data, name="cells")
    form = docked(viewer)
    form.into.combo.setCurrentText("cells")
    viewer.dims.set_point(0, 3)
    labels.selected_label = 7
    click(qtbot, form.marks.take_button)
    assert "no object 7 on slice (3,)" in form.messages["inputs"].text()
    viewer.dims.set_point(0, 4)
    click(qtbot, form.marks.take_button)
    assert form.marks.words.text() == "taken: 7"
    click(qtbot, form.run_button)
    inputs = form.current.request.inputs
    assert inputs.prompts[7][0].index == (4,)
    Sent(form).part(5, label=7)
    assert (labels.data[5] == 3).sum() == 16
    assert (labels.data[5] == 7).sum() == 100 - 16


def test_the_form_says_what_is_missing(qtbot: Any, viewer: Any, engine: Any) -> None:
    viewer.add_image(stack()[0], name="flat")
    form = docked(viewer)
    click(qtbot, form.run_button)
    for button in (form.run_button, form.marks.point_button, form.marks.box_button, form.marks.take_button):
        click(qtbot, button)
        assert any("needs a Z or T axis" in message.text() for message in form.messages.values())
        assert [layer.name for layer in viewer.layers] == ["flat"]
    viewer.add_image(stack(), name="stack")
    viewer.dims.ndisplay = 3
    click(qtbot, form.marks.point_button)
    assert "2-D view" in form.messages["inputs"].text()
    viewer.dims.ndisplay = 2
    assert form.range.last.value() == SLICES - 1


def test_labels_that_are_finer_than_the_picture_are_refused_and_stay_as_they_are(
    qtbot: Any, viewer: Any, engine: Any
) -> None:
    viewer.add_image(stack(), name="stack")
    fine = viewer.add_labels(np.zeros((2 * SLICES, 128, 160), np.uint8), name="fine", scale=(0.5, 1, 1))
    form = docked(viewer)
    form.marks.kept = {1: [fs.Prompt([(5, 60, 70)])]}
    form.into.show_layer(fine)
    click(qtbot, form.run_button)
    said = " ".join(message.text() for message in form.messages.values())
    assert "'fine'" in said
    assert f"its shape is {fine.data.shape}" in said
    assert form.current is None
    assert not fine.data.any()


def test_slices_are_linked_where_there_are_several(qtbot: Any, viewer: Any, engine: Any) -> None:
    from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget

    flat = viewer.add_image(stack()[0], name="flat")
    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form)
    links = [part for part in form.findChildren(QWidget) if part.accessibleName() == "Link slices"]
    assert links
    assert not any(link.isEnabled() for link in links)
    assert "one slice, so there is nothing to link" in links[0].toolTip()
    viewer.layers.selection.active = viewer.add_image(stack(), name="stack")
    qtbot.waitUntil(lambda: form.image.layer is not flat)
    assert all(link.isEnabled() for link in links)

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.widgets.layers.object_features import read_facts
from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from tests.support.waits import wait_for_layout

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]
SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def form(viewer: Any, engine: Any, scene: Any, qtbot: Any) -> CorrectWidget:
    viewer.add_image(scene.image, scale=(0.5, 0.5), units="um")
    labels = scene.automatic.labels.copy()
    labels[45:90, 100:120] = 2  # a neck
    labels[20:50, 95:125] = 2
    labels[5:15, 5:15] = 4
    viewer.add_labels(labels, name="objects", scale=(0.5, 0.5), units="um")
    widget = CorrectWidget(viewer)
    widget.split_button.model.choose("")
    viewer.window.add_dock_widget(widget, name="Correct")
    wait_for_layout(qtbot, viewer)
    return widget


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_objects_are_clicked_and_merged(qtbot: Any, viewer: Any, canvas: Any, form: CorrectWidget) -> None:
    layer = form.layer
    start = layer.data.copy()
    canvas.click(layer, (40, 50))
    assert form.chosen == [1]
    assert "µm²" in form.state.text()
    canvas.click(layer, (90, 110), SHIFT)
    assert form.chosen == [1, 2]
    click(qtbot, form.buttons["Merge"])
    assert set(np.unique(layer.data)) == {0, 1, 4}
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(layer.data, start)


def test_the_form_says_where_clicks_go_while_they_choose_no_object(
    viewer: Any, canvas: Any, form: CorrectWidget
) -> None:
    layer = form.layer
    image = next(other for other in viewer.layers if other is not layer)
    assert not form.click_hint.isVisible()
    viewer.layers.selection.active = image
    canvas.click(image, (40, 50))
    assert not form.chosen
    assert "select 'objects' in the layer list" in form.click_hint.text()
    assert form.click_hint.isVisible()
    viewer.layers.selection.active = layer
    assert not form.click_hint.isVisible()
    layer.mode = "paint"
    assert "Clicks paint" in form.click_hint.text()
    layer.mode = "pan_zoom"
    canvas.click(layer, (40, 50))
    assert form.chosen == [1]
    viewer.layers.selection.active = image
    viewer.layers.remove(layer)
    assert not form.click_hint.isVisible()


def test_a_form_of_the_plugin_menu_knows_its_layer(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    viewer.add_image(scene.image, name="cells")
    layer = viewer.add_labels(scene.automatic.labels, name="objects")
    # napari gives such forms a proxy of the viewer.
    _dock, form = viewer.window.add_plugin_dock_widget("napari-foundseg", "Correct")
    layer.mode = "fill"
    assert "Clicks fill" in form.click_hint.text()
    layer.mode = "pan_zoom"
    assert not form.click_hint.isVisible()
    viewer.layers.selection.active = viewer.layers["cells"]
    assert "'cells'" in form.click_hint.text()
    viewer.layers.selection.active = layer
    assert not form.click_hint.isVisible()


def test_two_clicks_split_an_object(qtbot: Any, viewer: Any, canvas: Any, form: CorrectWidget) -> None:
    layer = form.layer
    own = layer.data == 2
    canvas.click(layer, (90, 110))
    click(qtbot, form.split_button)
    canvas.click(layer, (95, 110))
    assert "other part" in form.state.text()
    canvas.click(layer, (30, 110))
    assert not form.split_button.isChecked()
    assert layer.data[95, 110] == 2
    assert layer.data[30, 110] == 5
    np.testing.assert_array_equal(np.isin(layer.data, [2, 5]), own)
    click(qtbot, form.edits.undo_button)
    np.testing.assert_array_equal(layer.data == 2, own)


def test_clicks_beside_the_middles_split_as_well(qtbot: Any, viewer: Any, canvas: Any, form: CorrectWidget) -> None:
    layer = form.layer
    canvas.click(layer, (90, 110))
    canvas.key(Qt.Key.Key_K)
    canvas.click(layer, (48, 97))  # near the corner, beside the neck
    canvas.click(layer, (78, 104))
    second = layer.data == 5
    first = layer.data == 2
    assert first[48, 97]
    assert second[78, 104]
    assert first[22, 122], "all of the block, not the surroundings of the click"
    assert not first[85:].any()
    assert "the image" in form.state.text()


def test_more_clicks_make_more_parts_in_one_step(qtbot: Any, viewer: Any, canvas: Any, form: CorrectWidget) -> None:
    layer = form.layer
    layer.data[60:64, 20:60] = 0
    layer.data[100:110, 10:20] = layer.data[100:110, 30:40] = layer.data[100:110, 50:60] = 7
    layer.data[104:106, 10:60] = 7
    before = layer.data.copy()
    canvas.click(layer, (105, 15))
    canvas.key(Qt.Key.Key_K)
    canvas.click(layer, (102, 17), SHIFT)
    canvas.click(layer, (107, 32), SHIFT)
    assert "2 clicked" in form.state.text()
    np.testing.assert_array_equal(layer.data, before)
    canvas.click(layer, (50, 5))
    assert "not in object 7" in form.message.text()
    canvas.click(layer, (102, 17))
    assert "another part" in form.message.text()
    canvas.click(layer, (103, 57))
    parts = [int(layer.data[at]) for at in ((108, 12), (102, 38), (101, 52))]
    assert len(set(parts)) == 3
    assert parts[0] == 7
    assert "Split into 3" in form.state.text()
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(layer.data, before)


def test_a_dragged_line_cuts_an_object(qtbot: Any, viewer: Any, canvas: Any, form: CorrectWidget) -> None:
    layer = form.layer
    canvas.click(layer, (90, 110))
    canvas.key(Qt.Key.Key_K)
    canvas.drag(layer, (60, 90), (60, 130))
    assert layer.data[90, 110] != layer.data[30, 110]
    assert {int(layer.data[90, 110]), int(layer.data[30, 110])} == {2, 5}
    assert layer.mouse_pan


def test_keys_act_on_the_object_under_the_pointer(qtbot: Any, viewer: Any, canvas: Any, form: CorrectWidget) -> None:
    layer = form.layer
    layer.data[100:110, 10:50] = 7
    layer.data[100:110, 50:60] = 8
    start = layer.data.copy()
    canvas.hover(layer, (10, 10))
    canvas.key(Qt.Key.Key_D)
    assert 4 not in layer.data
    canvas.hover(layer, (40, 50))
    canvas.key(Qt.Key.Key_G)
    assert (layer.data == 1).sum() > (start == 1).sum()
    assert form.chosen == [], "what was only pointed at is not chosen"
    canvas.click(layer, (105, 20))
    canvas.hover(layer, (105, 55))
    canvas.key(Qt.Key.Key_J)
    assert (layer.data[100:110, 10:60] == 7).all()
    canvas.hover(layer, (105, 30))
    canvas.key(Qt.Key.Key_K)
    canvas.click(layer, (102, 13))
    canvas.click(layer, (108, 57))
    assert layer.data[102, 13] == 7
    assert layer.data[108, 57] not in (0, 7)
    assert form.chosen == []
    canvas.hover(layer, (2, 60))
    canvas.key(Qt.Key.Key_D)
    assert "No object is chosen" in form.message.text()
    canvas.click(layer, (40, 50))
    canvas.hover(layer, (105, 20))
    canvas.key(Qt.Key.Key_D)
    assert 1 not in layer.data, "the chosen object, wherever the pointer is"
    assert 7 in layer.data
    while form.history.undo_name:
        click(qtbot, form.edits.undo_button)
    np.testing.assert_array_equal(layer.data, start)


def test_every_tool_has_its_key_and_leaves_the_others_alone(
    qtbot: Any, viewer: Any, canvas: Any, form: CorrectWidget
) -> None:
    layer = form.layer
    start = layer.data.copy()
    for pressed, bigger in ((Qt.Key.Key_G, True), (Qt.Key.Key_S, None), (Qt.Key.Key_H, None), (Qt.Key.Key_Q, None)):
        canvas.click(layer, (40, 50))
        before = layer.data.copy()
        canvas.key(pressed)
        np.testing.assert_array_equal(layer.data[before > 1], before[before > 1])
        if bigger:
            assert (layer.data == 1).sum() > (before == 1).sum()
    canvas.key(Qt.Key.Key_G, SHIFT)
    canvas.click(layer, (10, 10))
    canvas.key(Qt.Key.Key_D)
    assert 4 not in layer.data
    while form.history.undo_name:
        click(qtbot, form.edits.undo_button)
    np.testing.assert_array_equal(layer.data, start)


def test_tools_act_on_several_objects_at_once(qtbot: Any, form: CorrectWidget) -> None:
    layer = form.layer
    layer.data[38:42, 48:52] = 0
    layer.data[88:92, 108:112] = 0
    form.choose([1, 2])
    before = layer.data.copy()
    click(qtbot, form.buttons["Fill holes"])
    assert (layer.data[38:42, 48:52] == 1).all()
    assert (layer.data[88:92, 108:112] == 2).all()
    click(qtbot, form.edits.undo_button)
    np.testing.assert_array_equal(layer.data, before)
    form.choose([1, 4])
    form.amount.setValue(2.6)
    click(qtbot, form.buttons["Shrink"])  # too much for object 4, so for both
    assert "Nothing of object 4" in form.message.text()
    np.testing.assert_array_equal(layer.data, before)


def test_objects_are_renumbered(qtbot: Any, form: CorrectWidget) -> None:
    layer, start = form.layer, form.layer.data.copy()
    form.history.note("note", [4], note="the last")
    click(qtbot, form.buttons["Renumber"])
    qtbot.waitUntil(lambda: form.history.undo_name == "renumber")
    assert set(np.unique(layer.data)) == {0, 1, 2, 3}
    assert read_facts(layer) == {3: {"note": "the last"}}, "what is known went with the object"
    click(qtbot, form.edits.undo_button)
    np.testing.assert_array_equal(layer.data, start)
    assert read_facts(layer) == {4: {"note": "the last"}}
    click(qtbot, form.edits.redo_button)
    click(qtbot, form.buttons["Renumber"])
    qtbot.waitUntil(lambda: "Nothing to change" in form.state.text())
    assert form.history.undo_name == "renumber"


def scored(form: CorrectWidget) -> None:
    form.layer.features = {
        "index": [0, 1, 2, 4],
        "predicted_iou": [0, 0.9, 0.5, 0.9],
        "stability_score": [0, 1, 1, 0.7],
    }


def test_the_least_certain_come_first(qtbot: Any, form: CorrectWidget) -> None:
    scored(form)
    for label in (2, 4, 1):
        click(qtbot, form.review.buttons["Next"])
        qtbot.waitUntil(lambda label=label: form.chosen == [label])
    click(qtbot, form.review.buttons["Next"])
    assert "All objects" in form.state.text()


def test_objects_are_accepted_and_rejected_with_notes(
    qtbot: Any, viewer: Any, canvas: Any, form: CorrectWidget
) -> None:
    scored(form)
    layer = form.layer
    start, before = layer.data.copy(), read_facts(layer)
    canvas.key(Qt.Key.Key_N)
    qtbot.waitUntil(lambda: form.chosen == [2])
    qtbot.keyClicks(form.review.note, "looks like debris")
    canvas.key(Qt.Key.Key_R)
    assert 2 not in layer.data
    assert form.chosen == [4]
    assert form.review.note.text() == ""
    qtbot.waitUntil(lambda: "0 of 2 objects accepted, 1 rejected" in form.review.state.text())
    canvas.key(Qt.Key.Key_A)
    assert "1 of 2 objects accepted, 1 rejected" in form.review.state.text()
    assert form.chosen == [1]
    kept = layer.features.set_index("index")
    assert kept.loc[2, ["review", "note"]].tolist() == ["rejected", "looks like debris"]
    assert kept.loc[4, "review"] == "accepted"
    assert kept.loc[2, "predicted_iou"] == 0.5
    # Each word on an object is a step of its own.
    assert form.history.undo_name == "mark as right"
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: "0 of 2 objects accepted, 1 rejected" in form.review.state.text())
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(layer.data, start)
    qtbot.waitUntil(lambda: not form.review.state.text())
    assert read_facts(layer) == before
    for _ in range(2):
        canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    assert read_facts(layer)[2]["note"] == "looks like debris"
    assert read_facts(layer)[4]["review"] == "accepted"


def test_reviewing_without_a_choice_says_so(qtbot: Any, form: CorrectWidget) -> None:
    click(qtbot, form.review.buttons["Reject"])
    assert "No object is chosen" in form.message.text()
    assert form.history.undo_name is None


def test_a_label_selected_elsewhere_is_chosen(qtbot: Any, form: CorrectWidget) -> None:
    form.layer.selected_label = 4
    assert form.chosen == [4]
    form.layer.selected_label = 3  # no such object
    assert form.chosen == []


def test_what_is_wrong_is_said(qtbot: Any, viewer: Any, canvas: Any, form: CorrectWidget) -> None:
    click(qtbot, form.buttons["Delete"])
    assert "No object is chosen" in form.message.text()
    click(qtbot, form.split_button)
    assert "click one object first" in form.message.text()
    assert not form.split_button.isChecked()
    canvas.click(form.layer, (10, 10))
    form.amount.setValue(50)
    click(qtbot, form.buttons["Shrink"])
    assert "Nothing of object 4" in form.message.text()
    assert (form.layer.data == 4).sum() == 100


def test_lazy_labels_are_refused_and_a_copy_offered(qtbot: Any, viewer: Any, canvas: Any, form: CorrectWidget) -> None:
    lazy = viewer.add_labels(da.zeros((20, 20), dtype=np.uint16), name="lazy", scale=(3, 3))
    assert form.layer is None
    assert "only labels in memory" in form.message.text()
    click(qtbot, form.copy_button)
    assert form.layer is viewer.layers["lazy copy"]
    np.testing.assert_allclose(form.layer.scale, lazy.scale)


def test_what_is_said_of_an_object_follows_undo(qtbot: Any, canvas: Any, form: CorrectWidget) -> None:
    canvas.click(form.layer, (10, 10))
    before = form.state.text()
    click(qtbot, form.buttons["Grow"])
    assert form.state.text() != before
    click(qtbot, form.edits.undo_button)
    assert form.state.text() == before


def test_labels_of_too_many_axes_are_refused(qtbot: Any, viewer: Any, form: CorrectWidget) -> None:
    viewer.add_labels(np.zeros((2, 2, 2, 2, 8, 8), np.uint8), name="six")
    assert form.layer is None
    assert "6 axes" in form.message.text()
    viewer.layers.selection.active = viewer.layers["objects"]
    assert form.layer is viewer.layers["objects"]
    assert form.message.text() == ""


def test_closing_lets_keys_and_mouse_go(qtbot: Any, viewer: Any, canvas: Any, form: CorrectWidget) -> None:
    layer = form.layer
    form.release()
    assert not layer.keymap
    assert form._on_press not in layer.mouse_drag_callbacks


def test_opened_over_an_image_it_takes_the_clicks(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Any
) -> None:
    viewer.add_labels(scene.automatic.labels, name="objects")
    viewer.layers.selection.active = viewer.add_image(scene.image)
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Correct")
    wait_for_layout(qtbot, viewer)
    canvas.click(widget.layer, (40, 50))
    assert widget.chosen == [1]

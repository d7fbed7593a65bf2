from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QPushButton

from napari_foundseg.core.errors import EngineError
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.waits import wait_for_layout, wait_for_posted

pytestmark = pytest.mark.gui


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def docked(viewer: Any, kind: type) -> Any:
    form = kind(viewer)
    viewer.window.add_dock_widget(form, name=kind.__name__)
    return form


def test_a_click_on_run_adds_a_new_aligned_layer(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    engine.answer = lambda _: scene.automatic
    layer = viewer.add_image(scene.image, name="cells", scale=(2, 0.5), translate=(3, 4))
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "cells masks" in viewer.layers)
    labels = viewer.layers["cells masks"]
    np.testing.assert_array_equal(labels.data, scene.automatic.labels)
    np.testing.assert_allclose(labels.scale, layer.scale)
    np.testing.assert_allclose(labels.translate, layer.translate)
    assert list(labels.features["index"]) == [0, 1, 2]
    assert form.result.text().startswith("2 objects, ")
    viewer.layers.selection.active = layer
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "cells masks [1]" in viewer.layers)


def test_cancel_leaves_the_window_idle_at_once(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    viewer.add_image(scene.image)
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    assert not form.run_button.isEnabled()
    form.run()
    assert "under way" in form.messages["run"].text()
    assert len(engine.jobs) == 1
    click(qtbot, form.cancel_button)
    assert form.run_button.isEnabled()
    engine.jobs[0].finish(scene.automatic)
    wait_for_posted(qtbot)
    assert len(viewer.layers) == 1


def test_an_engine_error_stands_at_the_run_button(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    viewer.add_image(scene.image)
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    engine.jobs[0].fail(EngineError("The engine was stopped. Choose a smaller region."))
    qtbot.waitUntil(form.run_button.isEnabled)
    assert form.messages["run"].isVisible()
    assert "smaller region" in form.messages["run"].text()


def test_without_an_image_the_form_says_what_to_do(qtbot: Any, viewer: Any, engine: Any) -> None:
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    assert "Open an image" in form.messages["image"].text()
    assert not engine.jobs


def test_a_layer_deleted_during_the_run_still_gets_its_result(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    layer = viewer.add_image(scene.image, name="cells")
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    layer.name = "renamed"
    assert form.image.combo.currentText() == "renamed"
    viewer.layers.remove(layer)
    engine.jobs[0].finish(scene.automatic)
    qtbot.waitUntil(lambda: "renamed masks" in viewer.layers)


def test_closing_the_widget_cancels_its_run(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    viewer.add_image(scene.image)
    form = AutomaticWidget(viewer)
    dock = viewer.window.add_dock_widget(form)
    click(qtbot, form.run_button)
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    form.deleteLater()
    qtbot.waitUntil(lambda: engine.jobs[0].state == "cancelled")
    viewer.theme = "light"
    viewer.add_image(scene.image)


@pytest.mark.parametrize("kind", [AutomaticWidget, PromptWidget])
def test_the_form_fits_a_320_pixel_dock(viewer: Any, engine: Any, kind: type) -> None:
    form = docked(viewer, kind)
    for fold in form.findChildren(Fold):
        fold.button.setChecked(True)
    form.resize(320, 300)
    assert form.minimumWidth() <= 320
    assert form.widget().minimumSizeHint().width() <= form.minimumWidth() - form.verticalScrollBar().sizeHint().width()


def test_a_result_is_named_while_another_image_is_chosen(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    engine.answer = lambda _: scene.automatic
    cells = viewer.add_image(scene.image, name="cells")
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "cells masks" in viewer.layers)
    qtbot.waitUntil(form.result.isVisible)
    assert not form.result_image.isVisible()
    viewer.add_image(scene.image, name="others")
    assert form.result_image.text() == "Result of 'cells':"
    assert form.result_image.isVisible()
    viewer.layers.selection.active = cells
    assert not form.result_image.isVisible()
    viewer.layers.clear()
    assert form.result_image.isVisible()


def test_a_click_on_the_canvas_shows_a_mask_and_accept_writes_it(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Any
) -> None:
    engine.answer = lambda _: scene.prompted
    layer = viewer.add_image(scene.image, name="cells", scale=(2, 2))
    form = docked(viewer, PromptWidget)
    click(qtbot, form.run_button)
    wait_for_layout(qtbot, viewer)
    canvas.click(layer, (40, 50))
    qtbot.waitUntil(lambda: len(engine.jobs) == 1)
    prompt = engine.jobs[0].request.inputs.prompts[0]
    np.testing.assert_allclose(prompt.points, [(40, 50)], atol=1)
    assert engine.jobs[0].replace.startswith("prompt")
    preview = viewer.layers["foundseg preview"]
    qtbot.waitUntil(lambda: preview.data[40, 50] == 1)
    assert preview.data.sum() == scene.masks[0].area
    form.candidates.choose(1)
    assert preview.data.sum() == scene.masks[1].area
    form.candidates.choose(0)
    click(qtbot, form.accept_button)
    objects = viewer.layers["foundseg objects"]
    assert (objects.data == 1).sum() == scene.masks[0].area
    assert preview.data.sum() == 0
    assert len(form.session.points.data) == 0
    assert viewer.layers.selection.active is form.session.points
    click(qtbot, form.edits.undo_button)
    assert objects.data.max() == 0
    click(qtbot, form.edits.redo_button)
    assert (objects.data == 1).sum() == scene.masks[0].area
    qtbot.waitUntil(lambda: "kept for recovery" in form.edits.state.text())
    canvas.click(layer, (90, 110), Qt.KeyboardModifier.AltModifier)

    def asked() -> list[Any]:
        """What was clicked; where the pointer lies is asked for, too."""
        return [job for job in engine.jobs if job.replace.startswith("prompt")]

    qtbot.waitUntil(lambda: len(asked()) == 2)
    assert asked()[1].request.inputs.prompts[0].labels == (0,)
    click(qtbot, form.run_button)
    assert [la.name for la in viewer.layers] == ["cells", "foundseg objects"]
    np.testing.assert_array_equal(layer.data, scene.image)


def test_prompts_outside_the_image_are_refused_by_name(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    viewer.add_image(scene.image)
    form = docked(viewer, PromptWidget)
    click(qtbot, form.run_button)
    form.session.points.add([(500, 500)])
    assert "outside the image" in form.messages["inputs"].text()
    assert not engine.jobs


def test_diagnostics_go_to_the_clipboard(qtbot: Any, viewer: Any, engine: Any) -> None:
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.last_run.diagnostics_button)
    text = QApplication.clipboard().text()
    assert "napari-foundseg: " in text
    assert "engine device: cpu" in text


def test_a_threshold_acts_live_until_the_person_paints(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.answer = lambda _: dataclasses.replace(scene.automatic, maps={(): np.zeros((3, 128, 160), np.float16)})
    emptied = dataclasses.replace(
        scene.automatic, pixels=np.zeros_like(scene.automatic.labels), table=scene.automatic.table.iloc[:0]
    )
    monkeypatch.setattr("napari_foundseg.widgets.automatic.automatic_dock.derive", lambda *_: emptied)
    viewer.add_image(scene.image, name="cells")
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "cells masks" in viewer.layers)
    labels = viewer.layers["cells masks"]
    form.forms["decoder"].set_values({"foreground_threshold": 0.9})
    qtbot.waitUntil(lambda: labels.data.max() == 0)
    assert form.result.text() == "No objects"
    labels.paint((10, 10), 5)
    painted = labels.data.copy()
    form.forms["decoder"].set_values({"foreground_threshold": 0.2})
    qtbot.waitUntil(lambda: "edited by hand" in form.result.text())
    np.testing.assert_array_equal(labels.data, painted)


def test_save_labels_does_not_offer_an_earlier_result_where_nothing_was_found(
    qtbot: Any, viewer: Any, engine: Any, scene: Any
) -> None:
    engine.answer = lambda _: scene.automatic
    viewer.add_image(scene.image, name="cells")
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    qtbot.waitUntil(form.saving.button.isEnabled)
    engine.answer = lambda _: dataclasses.replace(
        scene.automatic, pixels=np.zeros_like(scene.automatic.labels), table=scene.automatic.table.iloc[:0]
    )
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: form.result.text().startswith("No objects"))
    assert not form.saving.button.isEnabled()
    assert form.saving.state.text() == ""


def test_prompts_in_a_stack_are_those_of_the_current_slice(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    mask = dataclasses.replace(scene.masks[0], index=(2,))
    engine.answer = lambda _: dataclasses.replace(scene.prompted, masks=(mask,))
    stack = np.stack([scene.image] * 4)
    viewer.add_image(stack, name="stack", scale=(3, 1, 1))
    viewer.dims.set_current_step(0, 2)
    form = docked(viewer, PromptWidget)
    click(qtbot, form.run_button)
    form.session.points.add([(2, 40, 50)])
    qtbot.waitUntil(lambda: viewer.layers["foundseg preview"].data[2, 40, 50] == 1)
    click(qtbot, form.accept_button)
    objects = viewer.layers["foundseg objects"].data
    assert (objects[2] == 1).sum() == mask.area
    assert objects[[0, 1, 3]].max() == 0


def test_a_second_object_respects_the_overlap_rule(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    engine.answer = lambda _: scene.prompted
    viewer.add_image(scene.image)
    form = docked(viewer, PromptWidget)
    click(qtbot, form.run_button)
    for candidate in (1, 0):
        form.session.points.add([(40, 50)])
        qtbot.waitUntil(form.accept_button.isEnabled)
        form.candidates.choose(candidate)
        click(qtbot, form.accept_button)
    objects = viewer.layers["foundseg objects"].data
    assert (objects == 1).sum() == scene.masks[1].area
    assert (objects == 2).sum() == scene.masks[0].area - scene.masks[1].area


def test_an_accepted_object_is_refined_and_no_other_changes(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Any
) -> None:
    engine.answer = lambda _: scene.prompted
    layer = viewer.add_image(scene.image)
    form = docked(viewer, PromptWidget)
    click(qtbot, form.run_button)
    wait_for_layout(qtbot, viewer)
    canvas.click(layer, (40, 50))
    qtbot.waitUntil(form.accept_button.isEnabled)
    form.candidates.choose(1)
    canvas.key(Qt.Key.Key_C)
    objects = viewer.layers["foundseg objects"]
    assert (objects.data == 1).sum() == scene.masks[1].area
    objects.data[30:36, 45:55] = 2  # an object inside the better outline
    before = objects.data.copy()
    form.makes.setCurrentText("a better outline")
    canvas.click(layer, (42, 50))
    qtbot.waitUntil(form.accept_button.isEnabled)
    prompt = engine.jobs[-1].request.inputs.prompts[0]
    np.testing.assert_array_equal(prompt.mask, before == 1)
    assert len(prompt.points) == 1
    canvas.click(layer, (20, 80), Qt.KeyboardModifier.AltModifier)
    qtbot.waitUntil(lambda: len(engine.jobs) == 3)
    assert engine.jobs[-1].request.inputs.prompts[0].labels == (1, 0)
    qtbot.waitUntil(form.accept_button.isEnabled)
    canvas.key(Qt.Key.Key_C)
    np.testing.assert_array_equal(objects.data == 2, before == 2)
    assert (objects.data == 1).sum() == scene.masks[0].area - 60
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(objects.data, before)


def test_the_masks_to_choose_from_fit_and_show_which_one_is_chosen(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Any
) -> None:
    four = (*scene.masks, dataclasses.replace(scene.masks[2], predicted_iou=0.4))
    engine.answer = lambda _: dataclasses.replace(scene.prompted, masks=four)
    layer = viewer.add_image(scene.image, name="cells")
    form = docked(viewer, PromptWidget)
    form.resize(320, 700)
    click(qtbot, form.run_button)
    wait_for_layout(qtbot, viewer)
    canvas.click(layer, (40, 50))
    qtbot.waitUntil(lambda: bool(form.candidates.masks))
    assert form.widget().minimumSizeHint().width() <= 320 - form.verticalScrollBar().sizeHint().width()
    buttons = form.candidates.findChildren(QPushButton)
    assert [button.isChecked() for button in buttons] == [True, False, False, False]
    click(qtbot, buttons[2])
    click(qtbot, buttons[2])
    assert [button.isChecked() for button in buttons] == [False, False, True, False]
    canvas.key(Qt.Key.Key_N)
    assert [button.isChecked() for button in buttons] == [False, False, False, True]
    assert all(button.accessibleName() for button in buttons)


def test_a_click_on_a_neighbour_takes_what_the_outline_covers_of_it(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Any
) -> None:
    engine.answer = lambda _: scene.prompted
    layer = viewer.add_image(scene.image)
    form = docked(viewer, PromptWidget)
    click(qtbot, form.run_button)
    wait_for_layout(qtbot, viewer)
    canvas.click(layer, (40, 50))
    qtbot.waitUntil(form.accept_button.isEnabled)
    form.candidates.choose(1)
    canvas.key(Qt.Key.Key_C)
    objects = viewer.layers["foundseg objects"]
    objects.data[30:36, 45:75] = 2
    form.makes.setCurrentText("a better outline")
    canvas.click(layer, (42, 50))
    qtbot.waitUntil(form.accept_button.isEnabled)
    canvas.click(layer, (33, 50))
    qtbot.waitUntil(lambda: len(engine.jobs) == 3)
    qtbot.waitUntil(form.accept_button.isEnabled)
    canvas.key(Qt.Key.Key_C)
    assert "pixels of 2 that you clicked" in form.result.text()
    assert objects.data[33, 50] == 1
    assert objects.data[33, 72] == 2
    assert (objects.data == 1).sum() == scene.masks[0].area


def test_refining_wants_an_object_under_the_click(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    engine.answer = lambda _: scene.prompted
    viewer.add_image(scene.image)
    form = docked(viewer, PromptWidget)
    click(qtbot, form.run_button)
    form.makes.setCurrentText("a better outline")
    form.session.points.add([(40, 50)])
    assert "no accepted objects" in form.messages["inputs"].text()
    form.makes.setCurrentText("one new object")
    form.session.points.add([(40, 50)])
    qtbot.waitUntil(form.accept_button.isEnabled)
    click(qtbot, form.accept_button)
    form.makes.setCurrentText("a better outline")
    form.session.points.add([(100, 20)])
    assert "no accepted object under" in form.messages["inputs"].text()


def test_the_layer_grows_with_its_ids(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    engine.answer = lambda _: scene.prompted
    viewer.add_image(scene.image)
    form = docked(viewer, PromptWidget)
    click(qtbot, form.run_button)
    form.session.points.add([(40, 50)])
    qtbot.waitUntil(form.accept_button.isEnabled)
    click(qtbot, form.accept_button)
    objects = viewer.layers["foundseg objects"]
    objects.data[0, 0] = 65535
    form.session.points.add([(90, 110)])
    qtbot.waitUntil(form.accept_button.isEnabled)
    form.overlap.setCurrentText("overwrite")
    click(qtbot, form.accept_button)
    assert objects.data.dtype == np.uint32
    assert objects.data[40, 50] == 65536
    assert objects.data[0, 0] == 65535
    click(qtbot, form.edits.undo_button)
    assert objects.data[40, 50] == 1


def test_closing_the_prompt_widget_lets_the_keys_go(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    viewer.add_image(scene.image)
    form = PromptWidget(viewer)
    dock = viewer.window.add_dock_widget(form)
    click(qtbot, form.run_button)
    points, boxes = form.session.points, form.session.boxes
    engine.answer = lambda _: scene.prompted
    points.add([(40, 50)])
    qtbot.waitUntil(form.accept_button.isEnabled)
    click(qtbot, form.accept_button)
    assert {"Ctrl+Z", "C"} <= {str(key) for key in points.keymap}
    engine.jobs.clear()
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    form.deleteLater()
    qtbot.waitUntil(lambda: not points.keymap and not boxes.keymap)
    points.add([(40, 50)])
    assert not engine.jobs


def test_copied_python_is_python(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    engine.answer = lambda _: scene.automatic
    viewer.add_image(scene.image, name="cells")
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "cells masks" in viewer.layers)
    click(qtbot, form.last_run.python_button)
    text = QApplication.clipboard().text()
    compile(text, "copied", "exec")
    assert "viewer.layers['cells'].data" in text
    assert "model='foundseg-tiny'" in text

"""What goes on in the window while something else is under way, and layers that cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.settings import get_settings
from qtpy.QtCore import Qt

from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.loading import load_model
from napari_foundseg.tasks import TASKS
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.layers.object_features import read_facts
from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget

pytestmark = pytest.mark.gui


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def docked(viewer: Any, kind: type) -> Any:
    form = kind(viewer)
    viewer.window.add_dock_widget(form, name=kind.__name__)
    return form


@pytest.mark.parametrize("what", ["renamed", "replaced", "slider", "hidden", "second run", "reordered"])
def test_whatever_happens_during_a_run_the_result_lies_on_what_was_run_on(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, what: str
) -> None:
    viewer.add_image(np.zeros((4, 128, 160)), name="stack")
    mine = viewer.add_labels(np.zeros((128, 160), np.uint8), name="mine")
    layer = viewer.add_image(scene.image, name="cells", scale=(2, 2), translate=(5, 6))
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    (job,) = engine.jobs
    if what == "renamed":
        layer.name = "other"
    elif what == "replaced":
        viewer.layers.remove(layer)
        viewer.add_image(np.zeros((7, 9)), name="cells")
    elif what == "slider":
        viewer.dims.set_current_step(0, 3)
    elif what == "hidden":
        layer.visible = False
    elif what == "reordered":
        viewer.layers.move(2, 0)
    else:
        form.run()
        assert "under way" in form.messages["run"].text()
        assert len(engine.jobs) == 1
    before = [(one, np.array(one.data)) for one in viewer.layers]
    job.finish(scene.automatic)
    qtbot.waitUntil(lambda: any(name.name.endswith(" masks") for name in viewer.layers))
    (masks,) = set(viewer.layers) - {one for one, _ in before}
    np.testing.assert_array_equal(masks.data, scene.automatic.labels)
    np.testing.assert_allclose(masks.scale, (2, 2))
    np.testing.assert_allclose(masks.translate, (5, 6))
    for one, data in before:
        np.testing.assert_array_equal(one.data, data)
    assert not mine.data.any()
    assert form.run_button.isEnabled()


def test_undo_after_the_array_was_replaced_never_mixes_the_two(qtbot: Any, viewer: Any, canvas: Any) -> None:
    layer = viewer.add_labels(np.zeros((60, 80), np.uint8), name="objects")
    form = docked(viewer, CorrectWidget)
    layer.paint((10, 10), 3)
    painted = layer.data.copy()
    layer.data = np.full((60, 80), 9, np.uint8)
    for expected in (painted, np.zeros_like(painted)):
        canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        np.testing.assert_array_equal(layer.data, expected)
    layer.data = np.ones((20, 30), np.uint8)  # smaller: napari's own undo would fail
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert (layer.data == 1).all()
    assert form.history.undo_name is None


@pytest.mark.parametrize("kind", ["multiscale", "dask", "read-only", "memmap", "locked"])
def test_labels_that_cannot_be_corrected_are_named_and_a_copy_offered(
    qtbot: Any, viewer: Any, tmp_path: Path, kind: str
) -> None:
    pixels = np.zeros((40, 60), np.uint16)
    pixels[5:20, 5:20] = 4
    data: Any = {"multiscale": [pixels, pixels[::2, ::2]], "dask": da.from_array(pixels)}.get(kind, pixels.copy())
    if kind == "memmap":
        data = np.memmap(tmp_path / "labels.raw", pixels.dtype, "w+", shape=pixels.shape)
        data[:] = pixels
    elif kind == "read-only":
        data.flags.writeable = False
    layer = viewer.add_labels(data, name="given", scale=(3, 3), features={"index": [4], "note": ["mine"]})
    layer.editable = kind not in ("locked", "multiscale")
    form = docked(viewer, CorrectWidget)
    assert form.layer is None
    assert "'given' is" in form.message.text()
    click(qtbot, form.copy_button)
    copy = viewer.layers["given copy"]
    assert form.layer is copy
    form.choose([4])
    form.delete()
    assert not copy.data.any()
    assert read_facts(layer) == {4: {"note": "mine"}}
    np.testing.assert_allclose(copy.scale, (3, 3))
    np.testing.assert_array_equal(np.asarray(layer.data[0] if kind == "multiscale" else layer.data), pixels)


def test_labels_locked_while_they_are_corrected_are_left_alone(qtbot: Any, viewer: Any, canvas: Any) -> None:
    pixels = np.zeros((40, 60), np.uint16)
    pixels[5:20, 5:20] = 4
    layer = viewer.add_labels(pixels.copy(), name="objects")
    form = docked(viewer, CorrectWidget)
    form.choose([4])
    click(qtbot, form.buttons["Grow"])
    grown = layer.data.copy()
    layer.editable = False
    for act in (form.delete, form.renumber, form.review.reject, form.edits.undo_button.click):
        form.choose([4])
        act()
        np.testing.assert_array_equal(layer.data, grown)
    assert "not editable" in form.edits.state.text()
    layer.editable = True
    click(qtbot, form.edits.undo_button)
    np.testing.assert_array_equal(layer.data, pixels)
    layer.visible = False
    form.choose([4])
    form.delete()
    assert not layer.data.any()
    viewer.layers.remove(layer)
    assert form.layer is None
    form.delete()  # a dead layer is nobody's


@pytest.fixture
def asynchronous() -> Iterator[None]:
    """Slicing beside the window's thread, as napari does it by choice."""
    experimental = get_settings().experimental
    before, experimental.async_ = experimental.async_, True
    yield
    experimental.async_ = before


@pytest.mark.usefixtures("asynchronous")
def test_with_asynchronous_slicing_results_and_strokes_lie_on_their_slice(
    qtbot: Any, viewer: Any, canvas: Any, engine: Any, scene: Any
) -> None:
    stack = np.zeros((5, *scene.image.shape), scene.image.dtype)
    stack[2] = scene.image
    layer = viewer.add_image(stack, name="stack")
    viewer.dims.set_current_step(0, 2)
    form = docked(viewer, PromptWidget)
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: layer.loaded)
    canvas.click(layer, (2, 40, 50))
    qtbot.waitUntil(lambda: bool(engine.jobs))
    viewer.dims.set_current_step(0, 4)
    viewer.dims.set_current_step(0, 2)
    engine.jobs[-1].finish(prompted_on(scene, 2, stack.shape))
    qtbot.waitUntil(form.accept_button.isEnabled)
    click(qtbot, form.accept_button)
    (objects,) = (one for one in viewer.layers if one.name.endswith(" objects"))
    np.testing.assert_array_equal(objects.data.any(axis=(1, 2)), [False, False, True, False, False])
    accepted = objects.data.copy()
    click(qtbot, form.run_button)
    correct = docked(viewer, CorrectWidget)
    viewer.dims.set_current_step(0, 3)
    objects.mode, objects.selected_label, objects.brush_size = "paint", 7, 5
    canvas.drag(objects, (3, 20, 20), (3, 20, 40))
    assert (objects.data[3] == 7).any()
    objects.mode = "pan_zoom"
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(objects.data, accepted)
    assert correct.layer is objects


def prompted_on(scene: Any, index: int, shape: tuple[int, ...]) -> Segmentation:
    labels = np.zeros(shape, np.uint16)
    labels[index] = scene.prompted.labels
    masks = tuple(replace(mask, index=(index,)) for mask in scene.masks)
    return Segmentation(labels, scene.prompted.table, provenance={"task": "prompt"}, masks=masks)


@pytest.mark.parametrize(
    "pixels", [np.full((40, 60), np.nan), np.zeros((2, 40, 60), np.float32)], ids=["all NaN", "constant stack"]
)
def test_images_without_contrast_have_no_objects_and_alter_nothing(
    qtbot: Any, viewer: Any, engine: Any, pixels: Any
) -> None:
    layer = viewer.add_image(pixels, name="odd")
    mine = viewer.add_labels(np.zeros(pixels.shape, np.uint8), name="mine")
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    request = engine.jobs[-1].request
    image, inputs, settings = request.image, request.inputs, request.settings
    engine.jobs[-1].finish(TASKS["automatic"].run(image, inputs, settings, load_model("foundseg-tiny")))
    qtbot.waitUntil(lambda: "No object" in form.result.text())
    assert list(viewer.layers)[:2] == [layer, mine]
    assert not mine.data.any()
    assert form.run_button.isEnabled()


@pytest.mark.filterwarnings("ignore")  # napari's own, on the way to its refusal
@pytest.mark.parametrize(
    ("kind", "pixels"),
    [("image", np.zeros((3, 0, 7))), ("image", np.ones((9, 9), complex)), ("labels", np.ones((9, 9), complex))],
)
def test_a_form_lives_on_when_napari_refuses_a_layer(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, kind: str, pixels: Any
) -> None:
    form = docked(viewer, AutomaticWidget)
    with pytest.raises(Exception):  # noqa: B017, PT011 - of many types, from numba's to numpy's
        getattr(viewer, f"add_{kind}")(pixels, name="refused")
    layer = viewer.add_image(scene.image, name="cells")
    engine.answer = lambda _: scene.automatic
    assert form.image.layer is layer
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "cells masks" in viewer.layers)

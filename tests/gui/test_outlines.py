"""Outlines of the chosen objects in Correct, its review, and Objects."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt

from napari_foundseg.widgets.layers.camera import find_camera
from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from napari_foundseg.widgets.objects.objects_dock import ObjectsWidget
from tests.support.waits import wait_for_layout

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]
CTRL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
NAME = "foundseg chosen"


def outlined(viewer: Any, layer: Labels) -> dict[int, set[int]]:
    """Which objects lie under the rims of the outlines, by their colour."""
    if NAME not in viewer.layers:
        return {}
    outlines = viewer.layers[NAME]
    found = {}
    for value in (1, 2):
        places = np.argwhere(outlines.data == value)
        if len(places):
            world = [outlines.data_to_world(place) for place in places]
            at = np.round([layer.world_to_data(place[-layer.ndim :]) for place in world]).astype(int)
            found[value] = set(np.unique(layer.data[tuple(at.T)]).tolist())
    return found


def open_correct(qtbot: Any, viewer: Any) -> CorrectWidget:
    form = CorrectWidget(viewer)
    viewer.window.add_dock_widget(form, name="Correct")
    wait_for_layout(qtbot, viewer)
    return form


@pytest.fixture
def layer(viewer: Any, engine: Any, scene: Any) -> Labels:
    viewer.add_image(scene.image, name="cells", scale=(0.5, 0.5), translate=(3, 4))
    return viewer.add_labels(
        scene.automatic.labels.copy(), name="objects", scale=(0.5, 0.5), translate=(3, 4), rotate=20
    )


def test_outlines_at_the_border_do_not_extend_what_the_viewer_shows(qtbot: Any, viewer: Any, engine: Any) -> None:
    labels = np.zeros((3, 60, 80), np.uint8)
    labels[1, :12, :9] = 1
    labels[1, 50:, 70:] = 2
    layer = viewer.add_labels(labels, name="objects")
    viewer.dims.set_point(0, 1)
    form = open_correct(qtbot, viewer)
    before = viewer.dims.range
    for chosen in ([1], [1, 2], [2]):
        form.choose(chosen)
        expected = {colour: {label} for colour, label in enumerate(chosen, 1)}
        qtbot.waitUntil(lambda expected=expected: outlined(viewer, layer) == expected)
        assert viewer.dims.range == before
        np.testing.assert_array_equal(viewer.layers.extent.world, layer.extent.world)


def test_chosen_objects_are_outlined_each_in_its_colour(qtbot: Any, viewer: Any, layer: Labels, canvas: Any) -> None:
    form = open_correct(qtbot, viewer)
    before = layer.data.copy()
    canvas.click(layer, (40, 50))
    qtbot.waitUntil(lambda: outlined(viewer, layer) == {1: {1}})
    assert viewer.layers.selection.active is layer
    canvas.click(layer, (90, 110), SHIFT)
    qtbot.waitUntil(lambda: outlined(viewer, layer) == {1: {1}, 2: {2}})
    assert (viewer.layers[NAME].data == 3).any()
    np.testing.assert_array_equal(layer.data, before)
    assert NAME not in [form.objects.combo.itemText(i) for i in range(form.objects.combo.count())]
    canvas.key(Qt.Key.Key_J)
    qtbot.waitUntil(lambda: outlined(viewer, layer) == {1: {1}})
    assert viewer.layers[NAME].data.shape[0] > 80  # around both parts
    canvas.key(Qt.Key.Key_Z, CTRL)
    qtbot.waitUntil(lambda: viewer.layers[NAME].data.shape[0] < 60)
    canvas.key(Qt.Key.Key_D)
    qtbot.waitUntil(lambda: not outlined(viewer, layer))


def test_the_outline_follows_the_layer_and_goes_with_the_dock(
    qtbot: Any, viewer: Any, layer: Labels, canvas: Any
) -> None:
    form = open_correct(qtbot, viewer)
    canvas.click(layer, (90, 110))
    qtbot.waitUntil(lambda: bool(outlined(viewer, layer)))
    layer.scale = (2, 2)
    qtbot.waitUntil(lambda: tuple(viewer.layers[NAME].scale) == (2, 2))
    assert outlined(viewer, layer) == {1: {2}}
    width = int((viewer.layers[NAME].data == 1).sum())
    find_camera(viewer).zoom = 0.25
    qtbot.waitUntil(lambda: int((viewer.layers[NAME].data == 1).sum()) > 1.5 * width)
    layer.visible = False
    qtbot.waitUntil(lambda: not outlined(viewer, layer))
    layer.visible = True
    qtbot.waitUntil(lambda: bool(outlined(viewer, layer)))
    viewer.layers.remove(NAME)
    form.choose([1])
    qtbot.waitUntil(lambda: outlined(viewer, layer) == {1: {1}})
    second = viewer.add_labels(np.zeros((30, 30), np.uint8), name="second")
    qtbot.waitUntil(lambda: not outlined(viewer, layer))
    viewer.layers.selection.active = layer
    form.choose([1])
    qtbot.waitUntil(lambda: bool(outlined(viewer, layer)))
    viewer.layers.remove(second)
    form.release()
    qtbot.waitUntil(lambda: NAME not in viewer.layers)


def test_the_review_and_the_table_outline_their_object(qtbot: Any, viewer: Any, layer: Labels, canvas: Any) -> None:
    form = open_correct(qtbot, viewer)
    canvas.key(Qt.Key.Key_N)
    qtbot.waitUntil(lambda: outlined(viewer, layer) == {1: {1}})
    canvas.key(Qt.Key.Key_R)
    qtbot.waitUntil(lambda: outlined(viewer, layer) == {1: {2}})
    canvas.key(Qt.Key.Key_Z, CTRL)
    form.release()
    qtbot.waitUntil(lambda: NAME not in viewer.layers)
    dock = ObjectsWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Objects")
    qtbot.waitUntil(lambda: dock.table.model_.rowCount() == 2)
    wait_for_layout(qtbot, viewer)
    row = dock.table.visualRect(dock.table.model_.index(0, 0)).center()
    qtbot.mouseClick(dock.table.viewport(), Qt.MouseButton.LeftButton, pos=row)
    qtbot.waitUntil(lambda: outlined(viewer, layer) == {1: {1}})
    dock.release()
    qtbot.waitUntil(lambda: NAME not in viewer.layers)


def test_a_volume_is_outlined_on_its_slice(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    volume = np.zeros((6, *scene.automatic.labels.shape), np.uint16)
    volume[2:5] = scene.automatic.labels
    layer = viewer.add_labels(volume, name="objects", scale=(3, 1, 1))
    form = open_correct(qtbot, viewer)
    viewer.dims.set_current_step(0, 3)
    form.choose([2])
    qtbot.waitUntil(lambda: outlined(viewer, layer) == {1: {2}})
    assert viewer.layers[NAME].data.shape[0] == 1
    assert round(viewer.layers[NAME].translate[0]) == 9
    viewer.dims.set_current_step(0, 5)
    qtbot.waitUntil(lambda: not outlined(viewer, layer))
    viewer.dims.set_current_step(0, 4)
    qtbot.waitUntil(lambda: bool(outlined(viewer, layer)))
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: viewer.layers[NAME].data.shape[0] > 1)
    assert outlined(viewer, layer) == {1: {2}}
    viewer.dims.ndisplay = 2


def test_a_large_layer_is_outlined_by_a_small_one(qtbot: Any, viewer: Any, engine: Any) -> None:
    labels = np.zeros((4096, 4096), np.uint16)
    labels[1000:1040, 2000:2050] = 7
    layer = viewer.add_labels(labels, name="objects")
    form = open_correct(qtbot, viewer)
    form.choose([7])
    qtbot.waitUntil(lambda: bool(outlined(viewer, layer)))
    outlines = viewer.layers[NAME]
    assert max(outlines.data.shape) < 200
    before = time.perf_counter()
    for _ in range(5):
        form._outlines._draw()
    assert (time.perf_counter() - before) / 5 < 0.5


def test_the_outline_is_seen(qtbot: Any, viewer: Any, layer: Labels, canvas: Any) -> None:
    open_correct(qtbot, viewer)
    canvas.click(layer, (40, 50))
    qtbot.waitUntil(lambda: bool(outlined(viewer, layer)))
    shown = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    viewer.layers[NAME].visible = False
    hidden = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    changed = np.abs(shown - hidden).max(-1) > 0
    assert changed.sum() > 100
    assert (shown[changed] > 200).all(-1).any()

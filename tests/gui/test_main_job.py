"""The main job with the real engine and the shipped model, by clicks alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from scipy import ndimage
from skimage.io import imread

pytestmark = pytest.mark.gui


TRUTH = Path(__file__).parents[1] / "data" / "nuclei-truth.png"


def iou(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    return float((a & b).sum() / (a | b).sum())


def click_canvas(qtbot: Any, viewer: Any, world: tuple[float, float]) -> None:
    """Click with the mouse where a world coordinate is drawn."""
    native = viewer.window._qt_viewer.canvas.native
    camera = viewer.scene.camera
    middle = np.array([native.height(), native.width()]) / 2
    y, x = (np.array(world) - np.array(camera.center[-2:])) * camera.zoom + middle
    place = native.rect().center().__class__(round(x), round(y))
    qtbot.mouseMove(native, place)
    qtbot.mouseClick(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)


def test_by_clicks_alone_the_sample_gets_masks_and_a_click_its_object(qtbot: Any, make_napari_viewer: Any) -> None:
    truth = imread(TRUTH)
    viewer = make_napari_viewer(show=True)
    viewer.open_sample("napari-foundseg", "nuclei")
    layer = viewer.layers["nuclei"]
    before = layer.data.copy()

    dock, form = viewer.window.add_plugin_dock_widget("napari-foundseg", "Automatic masks")
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: form.current is None, timeout=120_000)
    assert not form.messages["run"].text() + form.messages["model"].text()
    found = viewer.layers["nuclei masks"].data
    assert found.shape == truth.shape
    assert found.max() >= 20
    assert iou(found > 0, truth > 0) >= 0.5
    viewer.window.remove_dock_widget(dock)

    viewer.layers.selection.active = layer
    _, prompting = viewer.window.add_plugin_dock_widget("napari-foundseg", "Prompt")
    qtbot.mouseClick(prompting.run_button, Qt.MouseButton.LeftButton)
    qtbot.wait(300)
    target = truth == np.argmax(np.bincount(truth.ravel())[1:]) + 1
    y, x = np.unravel_index(ndimage.distance_transform_edt(target).argmax(), target.shape)
    click_canvas(qtbot, viewer, layer.data_to_world((y, x)))
    preview = viewer.layers["foundseg preview"]
    qtbot.waitUntil(lambda: preview.data.any(), timeout=60_000)
    assert preview.data[y, x] == 1
    # How well it fits is the business of tests/test_accuracy.py: here it must be this object and no other.
    assert (preview.data[target] > 0).sum() >= 0.8 * (preview.data > 0).sum()
    np.testing.assert_array_equal(layer.data, before)


def test_the_window_never_imports_torch(tmp_path: Path) -> None:
    """In a process of its own: this one may have torch from other tests."""
    code = """
import sys, warnings
warnings.simplefilter("ignore")
import napari
from qtpy.QtTest import QTest
from napari_foundseg.widgets.jobs import close_engine
viewer = napari.Viewer()
viewer.open_sample("napari-foundseg", "tissue")
viewer.window.add_plugin_dock_widget("napari-foundseg", "Prompt")
_, form = viewer.window.add_plugin_dock_widget("napari-foundseg", "Automatic masks")
form.run_button.click()
while form.current is not None:
    QTest.qWait(20)
print(len(viewer.layers), "torch" in sys.modules)
viewer.close()
close_engine()
"""
    environment = os.environ | {"NAPARI_CONFIG": str(tmp_path / "napari.yaml")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=200)
    assert done.stdout.split() == ["2", "False"], done.stderr

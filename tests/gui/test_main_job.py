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

from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.mouse import choose
from tests.support.waits import wait_for_layout

pytestmark = pytest.mark.gui


TRUTH = Path(__file__).parents[1] / "data" / "nuclei-truth.png"


def iou(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    return float((a & b).sum() / (a | b).sum())


def docked(qtbot: Any, viewer: Any, kind: type) -> Any:
    """The form that is open in the window."""
    found: list[Any] = []

    def opened() -> bool:
        found[:] = [form for form in viewer.window._qt_window.findChildren(kind) if form.isVisible()]
        return bool(found)

    qtbot.waitUntil(opened)
    return found[0]


def test_by_clicks_alone_the_sample_gets_masks_and_a_click_its_object(qtbot: Any, viewer: Any, canvas: Any) -> None:
    truth = imread(TRUTH)
    choose(qtbot, viewer, "File", "Open Sample", "FoundSeg", "Fluorescent nuclei")
    layer = viewer.layers["nuclei"]
    before = layer.data.copy()

    choose(qtbot, viewer, "Plugins", "FoundSeg", "Automatic masks (FoundSeg)")
    form = docked(qtbot, viewer, AutomaticWidget)
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: form.current is None, timeout=120_000)
    assert not form.messages["run"].text() + form.messages["model"].text()
    found = viewer.layers["nuclei masks"].data
    assert found.shape == truth.shape
    assert abs(int(found.max()) - int(truth.max())) <= 0.25 * truth.max()
    assert iou(found > 0, truth > 0) >= 0.7

    viewer.layers.selection.active = layer
    choose(qtbot, viewer, "Layers", "Annotate", "Prompt (FoundSeg)")
    prompting = docked(qtbot, viewer, PromptWidget)
    qtbot.mouseClick(prompting.run_button, Qt.MouseButton.LeftButton)
    wait_for_layout(qtbot, viewer)
    target = truth == np.argmax(np.bincount(truth.ravel())[1:]) + 1
    y, x = np.unravel_index(ndimage.distance_transform_edt(target).argmax(), target.shape)
    canvas.click(layer, (y, x))
    preview = viewer.layers["foundseg preview"]
    qtbot.waitUntil(lambda: preview.data.any(), timeout=60_000)
    assert preview.data[y, x] == 1
    assert iou(preview.data > 0, target) >= 0.5
    canvas.key(Qt.Key.Key_C)
    assert iou(viewer.layers["foundseg objects"].data == 1, target) >= 0.5
    np.testing.assert_array_equal(layer.data, before)


def test_a_click_on_a_disc_larger_than_the_models_window_gives_all_of_it(qtbot: Any, viewer: Any, canvas: Any) -> None:
    """An even disc of 400 pixels: one click, one more and Ctrl+Z, which brings the first mask back."""
    y, x = np.mgrid[:512, :512] - 255.5
    truth = np.hypot(y, x) < 200
    layer = viewer.add_image(np.where(truth, 180, 30).astype(np.uint8), name="disc")
    choose(qtbot, viewer, "Layers", "Annotate", "Prompt (FoundSeg)")
    form = docked(qtbot, viewer, PromptWidget)
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    wait_for_layout(qtbot, viewer)
    canvas.click(layer, (300, 190))
    preview = viewer.layers["foundseg preview"]
    qtbot.waitUntil(lambda: preview.data.any() and form.current is None, timeout=60_000)
    assert iou(preview.data > 0, truth) >= 0.9
    assert "of its size" in form.result.text()
    first = preview.data.copy()
    canvas.click(layer, (200, 330))
    qtbot.waitUntil(lambda: len(form.session.points.data) == 2 and form.current is None, timeout=60_000)
    assert iou(preview.data > 0, first > 0) >= 0.85
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: len(form.session.points.data) == 1 and form.current is None, timeout=60_000)
    np.testing.assert_array_equal(preview.data, first)


def test_the_window_never_imports_torch(tmp_path: Path) -> None:
    """In a process of its own: this one may have torch from other tests."""
    code = """
import sys, warnings
warnings.simplefilter("ignore")
import napari
from qtpy.QtTest import QTest
from napari_foundseg.widgets.runs.shared_engine import close_engine
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

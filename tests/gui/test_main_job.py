"""The main job with the real engine and the shipped model, by clicks alone."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.widgets.automatic import AutomaticWidget
from napari_foundseg.widgets.prompt import PromptWidget

pytestmark = pytest.mark.gui


@pytest.fixture
def cells() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Twelve bright discs on a noisy ground, and their truth."""
    rng = np.random.default_rng(0)
    truth = np.zeros((256, 256), np.uint16)
    rows, columns = np.ogrid[:256, :256]
    for i, (y, x) in enumerate((y, x) for y in (45, 125, 205) for x in (35, 95, 155, 215)):
        truth[(rows - y) ** 2 + (columns - x) ** 2 <= (12 + i % 4) ** 2] = i + 1
    image = rng.normal(200, 20, truth.shape) + 900 * (truth > 0)
    return image.astype(np.uint16), truth


def iou(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_by_clicks_alone_an_image_gets_masks_and_a_click_its_object(
    qtbot: Any, make_napari_viewer: Any, cells: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
) -> None:
    image, truth = cells
    viewer = make_napari_viewer(show=True)
    layer = viewer.add_image(image, name="cells", scale=(0.5, 0.5))
    form = AutomaticWidget(viewer)
    dock = viewer.window.add_dock_widget(form)
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: form.current is None, timeout=120_000)
    assert not form.messages["run"].text() + form.messages["model"].text()
    found = viewer.layers["cells masks"].data
    assert found.shape == truth.shape
    assert found.max() > 0
    viewer.window.remove_dock_widget(dock)

    viewer.layers.selection.active = layer
    prompting = PromptWidget(viewer)
    viewer.window.add_dock_widget(prompting)
    qtbot.mouseClick(prompting.run_button, Qt.MouseButton.LeftButton)
    qtbot.wait(300)
    native = viewer.window._qt_viewer.canvas.native
    camera = viewer.scene.camera
    middle = np.array([native.height(), native.width()]) / 2
    y, x = (np.array(layer.data_to_world((125, 95))) - np.array(camera.center[-2:])) * camera.zoom + middle
    place = native.rect().center().__class__(round(x), round(y))
    qtbot.mouseMove(native, place)
    qtbot.mouseClick(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    preview = viewer.layers["foundseg preview"]
    qtbot.waitUntil(lambda: preview.data.any(), timeout=60_000)
    assert preview.data[125, 95] == 1
    assert iou(preview.data > 0, truth == truth[125, 95]) >= 0.5
    np.testing.assert_array_equal(layer.data, image)
    assert "torch" not in sys.modules

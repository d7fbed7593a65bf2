"""A projection in the viewer is what the model sees, and the form says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from skimage.draw import disk

from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.waits import wait_for_layout

pytestmark = pytest.mark.gui


def test_a_click_finds_what_the_projection_shows(qtbot: Any, viewer: Any, canvas: Any) -> None:
    made = np.full((9, 96, 128), 30, np.uint8)
    made[6][disk((48, 64), 16)] = 200
    image = viewer.add_image(made, name="stack", projection_mode="max")
    form = PromptWidget(viewer)
    viewer.window.add_dock_widget(form)
    viewer.dims.set_point(0, 4)
    assert form.image.slab.isHidden()
    viewer.dims.thickness = (4, 0, 0)
    assert form.image.slab.text() == "Maximum of 5 slices along Z, as shown"
    assert not form.image.slab.isHidden()

    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    wait_for_layout(qtbot, viewer)
    canvas.click(image, (4, 48, 64))
    qtbot.waitUntil(lambda: form.accept_button.isEnabled(), timeout=120_000)
    qtbot.mouseClick(form.accept_button, Qt.MouseButton.LeftButton)
    labels = next(layer for layer in viewer.layers if type(layer).__name__ == "Labels" and np.asarray(layer.data).any())
    found = np.asarray(labels.data) > 0
    assert np.flatnonzero(found.any((1, 2))).tolist() == [4]
    truth = made[6] > 100
    assert (found[4] & truth).sum() / (found[4] | truth).sum() > 0.8

    # Single slices again: the words go.
    image.projection_mode = "none"
    assert form.image.slab.isHidden()
    assert form.chosen_target().image.slab is None

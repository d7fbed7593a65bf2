"""*Fill between slices* in a real window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from tests.support.waits import wait_for_layout

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)])
def test_two_painted_slices_are_filled_and_undone(qtbot: Any, viewer: Any, engine: Any, order: tuple[int, ...]) -> None:
    layer = viewer.add_labels(np.zeros((9, 48, 64), np.uint8), name="objects")
    form = CorrectWidget(viewer)
    viewer.window.add_dock_widget(form, name="Correct")
    wait_for_layout(qtbot, viewer)
    layer.brush_size = 14
    layer.paint((1, 20, 20), 5)
    layer.paint((6, 20, 40), 5)
    viewer.dims.order = order
    form.choose([5])
    painted = layer.data.copy()
    qtbot.mouseClick(form.buttons["Fill between slices"], Qt.MouseButton.LeftButton)
    assert "Filled object 5: Z 2 to 5." in form.state.text()
    assert (layer.data[2:6] == 5).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(layer.data[[1, 6]], painted[[1, 6]])
    assert form.history.undo_name == "fill between slices"
    filled = layer.data.copy()
    qtbot.mouseClick(form.buttons["Fill between slices"], Qt.MouseButton.LeftButton)
    assert "Nothing to fill" in form.message.text()
    np.testing.assert_array_equal(layer.data, filled)
    form.history.undo()
    np.testing.assert_array_equal(layer.data, painted)

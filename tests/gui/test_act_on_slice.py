"""*Act on* of *Correct*: the whole object of a stack, or its part in the slice that is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from tests.support.waits import wait_for_layout

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]


def two_bars() -> np.ndarray:
    labels = np.zeros((6, 48, 64), np.uint8)
    labels[1:5, 10:20, 10:30] = 5
    labels[1:5, 30:40, 10:30] = 7
    return labels


def click(qtbot: Any, form: Any, name: str) -> None:
    qtbot.mouseClick(form.buttons[name], Qt.MouseButton.LeftButton)


def docked(qtbot: Any, viewer: Any, labels: np.ndarray) -> tuple[Any, Any]:
    layer = viewer.add_labels(labels, name="objects")
    form = CorrectWidget(viewer)
    viewer.window.add_dock_widget(form, name="Correct")
    wait_for_layout(qtbot, viewer)
    return form, layer


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)])
@pytest.mark.parametrize("name", ["Delete", "Merge", "Grow", "Shrink", "Smooth"])
def test_a_slice_or_the_whole_object_is_changed_in_one_step(
    qtbot: Any, viewer: Any, engine: Any, name: str, order: tuple[int, ...]
) -> None:
    before = two_bars()
    form, layer = docked(qtbot, viewer, before.copy())
    viewer.dims.order = order
    viewer.dims.set_point(0, 3)
    viewer.dims.set_point(1, 15)
    chosen = [5, 7] if name == "Merge" else [5]
    form.amount.setValue(1)
    form.choose(chosen)
    click(qtbot, form, name)
    whole = layer.data.copy()
    assert (whole != before).any()
    assert "slices changed." in form.state.text()
    form.history.undo()
    np.testing.assert_array_equal(layer.data, before)

    form.scope.setCurrentText("This slice")
    form.choose(chosen)
    click(qtbot, form, name)
    if name == "Merge" and order[0] == 1:
        assert "Object 7 is not in this slice" in form.message.text()
        return
    changed = np.flatnonzero((layer.data != before).any(axis=tuple(a for a in range(3) if a != order[0])))
    assert changed.tolist() == [3 if order[0] == 0 else 15]
    assert "1 slice changed." in form.state.text()
    form.history.undo()
    np.testing.assert_array_equal(layer.data, before)


def test_clicks_in_two_slices_split_the_whole_object_only(qtbot: Any, viewer: Any, engine: Any) -> None:
    labels = np.zeros((6, 48, 64), np.uint8)
    labels[0:3, 10:20, 10:30] = 5
    labels[3:6, 16:26, 10:30] = 5
    form, layer = docked(qtbot, viewer, labels.copy())
    button = form.split_button
    button.model.setCurrentIndex(0)
    form.choose([5])
    for scope in ("This slice", "Whole object"):
        form.scope.setCurrentText(scope)
        button.setChecked(True)
        button.press((0.0, 12.0, 20.0), None, False)
        button.press((5.0, 24.0, 20.0), None, False)
        if scope == "This slice":
            assert "clicks are in several slices" in form.message.text()
            np.testing.assert_array_equal(layer.data, labels)
            button.setChecked(False)
    qtbot.waitUntil(lambda: len(np.unique(layer.data)) == 3)
    np.testing.assert_array_equal(layer.data > 0, labels > 0)
    form.history.undo()
    np.testing.assert_array_equal(layer.data, labels)


def test_a_split_in_one_slice_leaves_the_others(qtbot: Any, viewer: Any, engine: Any) -> None:
    form, layer = docked(qtbot, viewer, two_bars())
    before = layer.data.copy()
    button = form.split_button
    button.model.setCurrentIndex(0)
    form.scope.setCurrentText("This slice")
    form.choose([5])
    button.setChecked(True)
    button.press((3.0, 15.0, 12.0), None, False)
    button.press((3.0, 15.0, 28.0), None, False)
    qtbot.waitUntil(lambda: len(np.unique(layer.data)) == 4)
    assert np.flatnonzero((layer.data != before).any((1, 2))).tolist() == [3]
    np.testing.assert_array_equal(layer.data > 0, before > 0)


def test_a_flat_layer_has_no_choice(qtbot: Any, viewer: Any, engine: Any) -> None:
    form, _ = docked(qtbot, viewer, two_bars()[2])
    assert not form.scope.isEnabled()
    assert "one slice" in form.scope.toolTip()
    form.choose([5])
    click(qtbot, form, "Grow")
    assert "slice" not in form.state.text()

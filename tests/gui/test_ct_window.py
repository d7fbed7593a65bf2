"""The CT window of a form: presets, fields that fit a narrow dock, and a display that follows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.core.contrast import CTWindow
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.controls.fold import Fold

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]


@pytest.fixture
def form(viewer: Any, engine: Any) -> Any:
    scan = np.random.default_rng(0).integers(-1000, 1500, (8, 32, 32)).astype(np.int16)
    viewer.add_image(scan, name="ct", contrast_limits=(-1000, 1500))
    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form)
    for fold in form.image.findChildren(Fold):
        fold.button.setChecked(True)
    return form


def choose(qtbot: Any, combo: Any, text: str) -> None:
    """Choose an entry that begins with a text, with the arrow keys."""
    at = next(i for i in range(combo.count()) if combo.itemText(i).startswith(text))
    combo.setFocus()
    qtbot.keyClick(combo, Qt.Key.Key_Home)
    for _ in range(at):
        qtbot.keyClick(combo, Qt.Key.Key_Down)
    assert combo.currentIndex() == at


def test_a_preset_gives_level_and_width_and_the_layer_is_displayed_in_it(qtbot: Any, viewer: Any, form: Any) -> None:
    row = form.image.ct_window
    choose(qtbot, form.image._normalisation, "CT window")
    assert viewer.layers["ct"].contrast_limits == [-160, 240]
    choose(qtbot, row.preset, "Lung")
    assert (row.level_box.value(), row.width_box.value()) == (-600, 1500)
    assert form.chosen_target().image.normalisation == CTWindow(level=-600, width=1500)
    assert viewer.layers["ct"].contrast_limits == [-1350, 150]
    assert "'ct' is displayed in this window" in row.words.text()
    row.level_box.setValue(-500)
    assert row.preset.currentText() == "Own values"
    assert viewer.layers["ct"].contrast_limits == [-1250, 250]


def test_the_user_may_change_the_display_and_have_the_former_one_back(qtbot: Any, viewer: Any, form: Any) -> None:
    row, layer = form.image.ct_window, viewer.layers["ct"]
    choose(qtbot, form.image._normalisation, "CT window")
    layer.contrast_limits = (0, 100)
    assert "displayed from 0 to 100" in row.words.text()
    qtbot.mouseClick(row.button, Qt.MouseButton.LeftButton)
    assert layer.contrast_limits == [-160, 240]
    qtbot.mouseClick(row.button, Qt.MouseButton.LeftButton)
    assert layer.contrast_limits == [-1000, 1500]
    assert form.chosen_target().image.normalisation == CTWindow(level=40, width=400)
    choose(qtbot, form.image._normalisation, "Percentiles")
    assert layer.contrast_limits == [-1000, 1500]


def test_another_contrast_gives_the_display_back(qtbot: Any, viewer: Any, form: Any) -> None:
    choose(qtbot, form.image._normalisation, "CT window")
    choose(qtbot, form.image._normalisation, "Automatic")
    assert viewer.layers["ct"].contrast_limits == [-1000, 1500]


def test_the_next_scan_is_displayed_in_the_window_too(qtbot: Any, viewer: Any, form: Any) -> None:
    choose(qtbot, form.image._normalisation, "CT window")
    viewer.add_image(np.zeros((8, 32, 32), np.int16), name="next", contrast_limits=(-1000, 1500))
    assert form.image.layer.name == "next"
    assert viewer.layers["next"].contrast_limits == [-160, 240]
    viewer.add_image(np.zeros((32, 32, 3), np.uint8), name="photograph")
    assert "colour image" in form.image.ct_window.words.text()


def test_the_fields_are_whole_in_a_narrow_dock(qtbot: Any, form: Any) -> None:
    choose(qtbot, form.image._normalisation, "CT window")
    row = form.image.ct_window
    form.resize(320, 800)
    form.widget().resize(305, form.widget().height())
    for box in (row.level_box, row.width_box):
        box.setValue(box.maximum())
        qtbot.waitUntil(lambda box=box: box.width() >= box.sizeHint().width())
    assert form.widget().minimumSizeHint().width() <= 305

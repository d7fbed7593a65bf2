"""The table of objects follows the size and the unit of the layer's pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from napari_foundseg.widgets.objects.objects_dock import ObjectsWidget
from tests.support.waits import wait_for_layout

pytestmark = pytest.mark.gui


def open_table(viewer: Any, qtbot: Any) -> ObjectsWidget:
    dock = ObjectsWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Objects")
    qtbot.waitUntil(lambda: dock.table.model_.rowCount() == 2)
    wait_for_layout(qtbot, viewer)
    return dock


def test_the_table_follows_the_unit_of_the_layer(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, canvas: Any, tmp_path: Path
) -> None:
    viewer.add_image(scene.image, name="cells")
    layer = viewer.add_labels(scene.automatic.labels.copy(), name="objects")
    form = CorrectWidget(viewer)
    viewer.window.add_dock_widget(form, name="Correct")
    dock = open_table(viewer, qtbot)
    model = dock.table.model_
    pixels = (layer.data > 0).sum()
    assert "area (px²)" in model.table
    dock.table.sortByColumn(list(model.table).index("area (px²)"), Qt.SortOrder.DescendingOrder)
    layer.scale = (0.5, 0.5)
    layer.units = "um"
    qtbot.waitUntil(lambda: "area (µm²)" in model.table)
    assert "area (px²)" not in model.table
    assert model.table["area (µm²)"].sum() == pytest.approx(pixels / 4)
    assert list(model.table["label"]) == [2, 1]
    assert form.amount.suffix() == " µm"
    layer.selected_label = 1
    layer.mode = "paint"
    canvas.drag(layer, (40, 50), (40, 90))
    qtbot.waitUntil(lambda: model.table["pixels"].sum() == (layer.data > 0).sum())
    assert model.table["area (µm²)"].sum() == pytest.approx((layer.data > 0).sum() / 4)
    dock.save_table(str(tmp_path / "objects.csv"))
    saved = pd.read_csv(tmp_path / "objects.csv")
    assert not saved.filter(regex="area|pixels|diameter|x0|mean").isna().any().any()
    assert [name for name in saved if name.startswith("area")] == ["area (µm²)"]
    layer.units = "mm"
    qtbot.waitUntil(lambda: "area (mm²)" in model.table)
    dock.release()
    layer.scale = (2, 2)
    again = open_table(viewer, qtbot)
    qtbot.waitUntil(lambda: again.table.model_.table["area (mm²)"].sum() == pytest.approx(4 * (layer.data > 0).sum()))


def test_slices_that_become_time_are_measured_one_by_one(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    stack = viewer.add_labels(np.stack([scene.automatic.labels] * 3), name="stack", axis_labels=("z", "y", "x"))
    dock = open_table(viewer, qtbot)
    assert "volume (px³)" in dock.table.model_.table
    stack.axis_labels = ("t", "y", "x")
    qtbot.waitUntil(lambda: dock.table.model_.rowCount() == 6)
    assert "area (px²)" in dock.table.model_.table

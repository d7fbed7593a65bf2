from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.widgets.layers.camera import find_camera
from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from napari_foundseg.widgets.objects.objects_dock import ObjectsWidget
from tests.support.waits import wait_for_layout

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]


@pytest.fixture
def dock(viewer: Any, engine: Any, scene: Any, qtbot: Any) -> ObjectsWidget:
    viewer.add_image(scene.image, scale=(0.5, 0.5), units="um")
    labels = scene.automatic.labels.copy()
    labels[5:15, 5:15] = 4
    features = {"index": [0, 1, 2, 4], "predicted_iou": [0, 0.9, 0.5, 0.9], "stability_score": [0, 1, 1, 0.7]}
    viewer.add_labels(labels, name="objects", scale=(0.5, 0.5), units="um", features=features)
    widget = ObjectsWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Objects")
    qtbot.waitUntil(lambda: widget.table.model_.rowCount() == 3)
    wait_for_layout(qtbot, viewer)
    return widget


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def click_row(qtbot: Any, table: Any, row: int) -> None:
    place = table.visualRect(table.model_.index(row, table.columnAt(0))).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)


def rows(dock: ObjectsWidget) -> Any:
    return dock.table.model_.table.set_index("label")


def chosen(dock: ObjectsWidget) -> int | None:
    at = dock.table.currentIndex()
    return int(dock.table.model_.table["label"][at.row()]) if at.isValid() else None


def test_the_table_measures_in_the_unit(dock: ObjectsWidget) -> None:
    table = rows(dock)
    assert table.loc[4, "area (µm²)"] == pytest.approx(25)
    assert table.loc[4, "Feret diameter (µm)"] == pytest.approx(np.hypot(5, 5))
    assert table.loc[1, "mean intensity"] == pytest.approx(2000)
    assert table.loc[4, "certainty"] == pytest.approx(0.63)
    assert dock.state.text() == "3 objects"


def test_a_row_selects_its_object_and_goes_there(qtbot: Any, viewer: Any, dock: ObjectsWidget) -> None:
    click_row(qtbot, dock.table, 1)
    assert dock.layer.selected_label == 2
    np.testing.assert_allclose(find_camera(viewer).center[-2:], (45, 55), atol=0.5)  # in µm


def test_an_object_selects_its_row(qtbot: Any, viewer: Any, canvas: Any, dock: ObjectsWidget) -> None:
    centre = find_camera(viewer).center
    dock.layer.mode = "pick"
    canvas.click(dock.layer, (10, 10))
    assert chosen(dock) == 4
    assert find_camera(viewer).center == centre
    dock.layer.selected_label = 3  # no such object
    assert chosen(dock) is None


def test_correct_and_objects_choose_together(qtbot: Any, viewer: Any, canvas: Any, dock: ObjectsWidget) -> None:
    correct = CorrectWidget(viewer)
    viewer.window.add_dock_widget(correct, name="Correct")
    wait_for_layout(qtbot, viewer)
    click_row(qtbot, dock.table, 1)
    assert correct.chosen == [2]
    canvas.click(dock.layer, (90, 110))
    assert chosen(dock) == 2
    correct.release()
    assert dock.history.layer.data.any()


def test_the_table_follows_edits(qtbot: Any, canvas: Any, dock: ObjectsWidget) -> None:
    layer = dock.layer
    layer.selected_label = 9
    layer.mode = "paint"
    layer.brush_size = 5
    canvas.drag(layer, (100, 15), (100, 25))
    qtbot.waitUntil(lambda: 9 in rows(dock).index)
    assert rows(dock).loc[9, "pixels"] == (layer.data == 9).sum()
    assert chosen(dock) == 9
    click(qtbot, dock.edits.undo_button)
    qtbot.waitUntil(lambda: 9 not in rows(dock).index)


def test_small_objects_are_counted_deleted_and_brought_back(qtbot: Any, dock: ObjectsWidget) -> None:
    start = dock.layer.data.copy()
    dock.removal.bound.setValue(101)
    assert dock.removal.button.text() == "Delete 1 object"
    dock.removal.measure.setCurrentText("certainty")
    dock.removal.bound.setValue(0.7)
    assert dock.removal.button.text() == "Delete 2 objects"
    dock.removal.button.click()
    assert set(np.unique(dock.layer.data)) == {0, 1}
    qtbot.waitUntil(lambda: dock.removal.button.text() == "Delete 0 objects")
    assert not dock.removal.button.isEnabled()
    click(qtbot, dock.edits.undo_button)
    np.testing.assert_array_equal(dock.layer.data, start)
    qtbot.waitUntil(lambda: dock.removal.button.text() == "Delete 2 objects")


def test_the_table_is_sorted_and_saved_as_shown(qtbot: Any, dock: ObjectsWidget, tmp_path: Path) -> None:
    column = list(dock.table.model_.table).index("pixels")
    dock.table.sortByColumn(column, Qt.SortOrder.AscendingOrder)
    dock.save_table(str(tmp_path / "objects.csv"))
    table = pd.read_csv(tmp_path / "objects.csv", encoding="utf-8-sig")
    assert table["label"].tolist() == [4, 1, 2]
    assert {"review", "note", "area (µm²)", "mean intensity", "certainty"} <= set(table)
    dock.save_table(str(tmp_path / "missing" / "objects.csv"))
    assert "folder does not exist" in dock.message.text()


def test_slices_of_a_volume_are_saved_each_in_a_row(
    qtbot: Any, viewer: Any, dock: ObjectsWidget, tmp_path: Path
) -> None:
    assert not dock.slices_button.isVisible(), "there are no slices"
    labels = np.zeros((3, 20, 20), np.uint16)
    labels[:2, 5:9, 5:9] = 7
    viewer.add_labels(labels, name="cells in a stack", scale=(2, 1, 1))
    dock.objects.combo.setCurrentText("cells in a stack")
    qtbot.waitUntil(lambda: dock.layer is not None and dock.layer.name == "cells in a stack")
    qtbot.waitUntil(dock.slices_button.isVisible)
    dock.save_slices(str(tmp_path / "slices.csv"))
    qtbot.waitUntil(lambda: "2 rows saved" in dock.state.text())
    table = pd.read_csv(tmp_path / "slices.csv", encoding="utf-8-sig")
    assert table[["label", "z", "pixels"]].to_numpy().tolist() == [[7, 0, 16], [7, 1, 16]]


def test_the_objects_are_compared_with_a_reference(qtbot: Any, viewer: Any, dock: ObjectsWidget) -> None:
    truth = dock.layer.data.copy()
    truth[truth == 4] = 0
    truth[100:120, 10:30] = 7
    layer = dock.layer
    viewer.add_labels(truth, name="truth", scale=(0.5, 0.5), units="um")
    viewer.layers.selection.active = layer
    panel = dock.comparison
    panel.reference.combo.setCurrentText("truth")
    panel.button.click()
    qtbot.waitUntil(lambda: "mSA 0.500" in panel.figures.text())
    assert "3 objects, 3 in the reference" in panel.figures.text()
    assert set(panel.errors.model_.table["error"]) == {"missed", "invented"}
    panel.errors.parent().show()
    missed = panel.errors.model_.table["error"].tolist().index("missed")
    panel.errors.setCurrentIndex(panel.errors.model_.index(missed, 0))
    np.testing.assert_allclose(find_camera(viewer).center[-2:], (54.5, 9.5), atol=0.5)
    dock.removal.bound.setValue(101)
    dock.removal.button.click()
    qtbot.waitUntil(lambda: "1 missed" in panel.figures.text() and "invented" not in panel.figures.text())


def test_a_reference_that_does_not_fit_is_refused(qtbot: Any, viewer: Any, dock: ObjectsWidget) -> None:
    layer = dock.layer
    dock.comparison.button.click()
    assert "Choose another Labels layer" in dock.comparison.message.text()
    viewer.add_labels(np.zeros((9, 9), np.uint8), name="other")
    viewer.layers.selection.active = layer
    dock.comparison.reference.combo.setCurrentText("other")
    dock.comparison.button.click()
    qtbot.waitUntil(lambda: "(9, 9)" in dock.comparison.message.text())


def test_a_volume_is_measured_and_shown_on_its_slice(qtbot: Any, viewer: Any, dock: ObjectsWidget) -> None:
    labels = np.zeros((8, 40, 40), np.uint16)
    labels[1:3, 5:10, 5:10], labels[5:8, 20:30, 20:30] = 1, 2
    viewer.add_labels(labels, name="volume", scale=(2, 0.5, 0.5), units="um")
    qtbot.waitUntil(lambda: dock.table.model_.rowCount() == 2)
    assert rows(dock).loc[2, "volume (µm³)"] == pytest.approx(300 * 0.5)
    click_row(qtbot, dock.table, 1)
    assert viewer.dims.current_step[0] == 6


def cell(dock: ObjectsWidget, row: int, column: str, role: Qt.ItemDataRole = Qt.ItemDataRole.DisplayRole) -> str:
    model = dock.table.model_
    return model.data(model.index(row, list(model.table).index(column)), role)


def test_large_sizes_are_read_without_powers_of_ten_and_sorted_as_numbers(
    qtbot: Any, viewer: Any, dock: ObjectsWidget, tmp_path: Path
) -> None:
    labels = np.zeros((40, 60, 60), np.uint16)
    labels[1:31, 5:55, 5:55], labels[35:37, 5:55, 5:55], labels[39, 3:5, 3] = 1, 2, 1234
    viewer.add_labels(labels, name="tumour", scale=(3, 0.93, 0.93), units="mm")
    qtbot.waitUntil(lambda: "volume (mm³)" in dock.table.model_.table)
    column = list(dock.table.model_.table).index("volume (mm³)")
    dock.table.sortByColumn(column, Qt.SortOrder.DescendingOrder)
    assert [cell(dock, i, "volume (mm³)") for i in range(3)] == ["194,602", "12,974", "5.189"]
    assert cell(dock, 0, "volume (mm³)", Qt.ItemDataRole.ToolTipRole) == "194,602 mm³ (194.6 ml)"
    assert [cell(dock, i, "label") for i in range(3)] == ["1", "2", "1234"], "an id is a name"
    assert cell(dock, 0, "pixels") == "75,000"
    dock.save_table(str(tmp_path / "tumour.csv"))
    saved = pd.read_csv(tmp_path / "tumour.csv", encoding="utf-8-sig")
    assert saved["volume (mm³)"][0] == pytest.approx(75000 * 3 * 0.93**2, rel=1e-12)


def test_headers_say_what_a_column_is_and_size_comes_first(dock: ObjectsWidget) -> None:
    model = dock.table.model_
    horizontal = Qt.Orientation.Horizontal
    names = [model.headerData(i, horizontal) for i in range(model.columnCount())]
    help_of = {n: model.headerData(i, horizontal, Qt.ItemDataRole.ToolTipRole) for i, n in enumerate(names)}
    assert names[:3] == ["label", "area (µm²)", "pixels"]
    assert {"perimeter (µm)", "circularity", "solidity", "major axis (µm)", "minor axis (µm)", "sum intensity",
            "std intensity"} <= set(names)  # fmt: skip
    assert all(len(text) > 10 for text in help_of.values()), help_of
    assert "4 π area / perimeter²" in help_of["circularity"]
    assert "In µm." in help_of["perimeter (µm)"]


def test_objects_that_cannot_be_measured_are_said(
    qtbot: Any, dock: ObjectsWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise MemoryError("no memory left")

    monkeypatch.setattr("napari_foundseg.widgets.objects.measurements.remeasure", full)
    dock.history.write("edit", [((slice(0, 2), slice(0, 2)), np.full((2, 2), 9))])
    qtbot.waitUntil(lambda: "no memory left" in dock.message.text())
    dock.history.write("edit", [((slice(4, 5), slice(0, 2)), np.full((1, 2), 9))])
    qtbot.waitUntil(lambda: 9 in rows(dock).index)
    assert rows(dock).loc[9, "pixels"] == 6


def test_closing_lets_the_layer_go(qtbot: Any, viewer: Any, dock: ObjectsWidget) -> None:
    layer = dock.layer
    dock.release()
    layer.selected_label = 2
    layer.data[0, 0] = 1
    assert not layer.keymap


def test_an_axis_of_one_channel_is_no_column(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    viewer.add_labels(scene.automatic.labels[None], name="objects", axis_labels=("c", "y", "x"))
    dock = ObjectsWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Objects")
    qtbot.waitUntil(lambda: dock.table.model_.rowCount() == 2)
    wait_for_layout(qtbot, viewer)
    assert "c" not in dock.table.model_.table
    assert {"y", "x"} <= set(dock.table.model_.table)
    click_row(qtbot, dock.table, 1)
    assert dock.layer.selected_label == 2
    np.testing.assert_allclose(find_camera(viewer).center[-2:], (90, 110), atol=0.5)

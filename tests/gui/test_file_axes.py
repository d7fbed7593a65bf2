"""Axes and spacing of files that napari's own reader opened without them, and of those that ours opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from napari.layers import Labels
from qtpy.QtCore import Qt

from napari_foundseg.core.errors import AxesError
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.image_layers import CHANNEL_NAMES
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.layers import file_facts
from napari_foundseg.widgets.layers.layer_axes import label_spacing
from napari_foundseg.widgets.objects.objects_dock import ObjectsWidget
from napari_foundseg.widgets.worklist.worklist_dock import WorklistWidget

pytestmark = pytest.mark.gui


def docked(viewer: Any, kind: type) -> Any:
    form = kind(viewer)
    viewer.window.add_dock_widget(form, name=kind.__name__)
    return form


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    volume = np.zeros((6, 40, 50), np.int16)
    volume[2:4, 10:20, 10:30] = 300
    path = tmp_path / "ct.tif"
    tifffile.imwrite(
        path, volume, imagej=True, resolution=(1 / 0.7, 1 / 0.7), metadata={"axes": "ZYX", "spacing": 3.0, "unit": "mm"}
    )
    return path


@pytest.fixture
def series(tmp_path: Path) -> Path:
    path = tmp_path / "series.tif"
    movie = np.random.default_rng(0).integers(0, 900, (4, 2, 40, 50)).astype(np.uint16)
    tifffile.imwrite(path, movie, imagej=True, metadata={"axes": "TCYX"})
    return path


def of_the_run(job: Any) -> Segmentation:
    """Two objects in the run's own image."""
    from napari_foundseg.core.object_table import object_table

    image = job.request.image
    labels = np.zeros(image.shape, np.uint16)
    labels[..., 10:20, 10:30] = 1
    table = object_table(labels, image.label_axes, predicted_iou=[1.0], stability_score=[1.0])
    return Segmentation(labels, table, provenance={"task": "automatic", "inputs": {}})


def test_a_series_of_imagej_is_no_stack_of_channels(qtbot: Any, viewer: Any, engine: Any, series: Path) -> None:
    (layer,) = viewer.open(series, plugin="napari")
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    seen = engine.jobs[0].request.image
    assert seen.axes == "TCYX"
    assert seen.shape == (4, 40, 50)
    assert list(layer.axis_labels) == ["t", "c", "y", "x"]
    assert form.image.file.words.text() == "From the file: axes TCYX"
    qtbot.waitUntil(form.image.file.words.isVisible)
    folds = [fold.button.text() for fold in form.findChildren(Fold) if fold.button.text().startswith("Axes")]
    assert folds == ["Axes TCYX and contrast"]
    click(qtbot, form.image.file.undo_button)
    assert form.image.image().axes == "TZYX"
    assert not form.image.file.words.isVisible()


def test_a_ct_measures_in_mm_and_can_be_undone(qtbot: Any, viewer: Any, engine: Any, ct: Path) -> None:
    (layer,) = viewer.open(ct, plugin="napari")
    points = viewer.add_points([[2, 15, 20]])
    labels = viewer.add_labels(np.zeros((6, 40, 50), np.uint16))
    viewer.layers.selection.active = layer
    viewer.dims.set_current_step(0, 2)
    engine.answer = of_the_run
    form = docked(viewer, AutomaticWidget)
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "ct masks" in viewer.layers)
    np.testing.assert_allclose(layer.scale, [3, 0.7, 0.7], rtol=1e-4)
    assert form.image.file.words.text().endswith("3 \N{MULTIPLICATION SIGN} 0.7 \N{MULTIPLICATION SIGN} 0.7 mm")
    assert viewer.dims.current_step[0] == 2, "the slice in view is the same"
    for other in (points, labels, viewer.layers["ct masks"]):
        np.testing.assert_allclose(other.scale, layer.scale)
        assert list(map(str, other.units)) == ["millimeter"] * 3
    sizes, unit = label_spacing(viewer.layers["ct masks"])
    assert unit == "mm"
    np.testing.assert_allclose(sizes, [3, 0.7, 0.7], rtol=1e-4)
    viewer.layers.selection.active = viewer.layers["ct masks"]
    objects = docked(viewer, ObjectsWidget)
    qtbot.waitUntil(lambda: objects._measurements is not None and objects._measurements.table is not None)
    table = objects._measurements.table
    assert table["volume (mm³)"].iloc[0] == pytest.approx(6 * 200 * 3 * 0.7 * 0.7, rel=1e-3)
    click(qtbot, form.image.file.undo_button)
    np.testing.assert_allclose(layer.scale, 1)
    np.testing.assert_allclose(points.scale, 1)
    assert form.image.image().spacing == {"Z": 1, "Y": 1, "X": 1}


def test_file_open_and_worklist_give_one_answer(qtbot: Any, viewer: Any, engine: Any, ct: Path) -> None:
    (opened,) = viewer.open(ct, plugin="napari")
    form = docked(viewer, AutomaticWidget)
    form.image.wait_for_file()
    by_hand = form.image.image()
    worklist = docked(viewer, WorklistWidget)
    worklist.ask_folder = lambda _title: str(ct.parent)
    click(qtbot, worklist.folder_button)
    qtbot.waitUntil(lambda: not worklist.session.busy)
    viewer.layers.remove(opened)
    worklist.session.open(0)
    qtbot.waitUntil(lambda: not worklist.session.busy)
    listed = form.image.image()
    assert listed.axes == by_hand.axes
    assert listed.units == by_hand.units == {"Z": "mm", "Y": "mm", "X": "mm"}
    assert listed.spacing == pytest.approx(by_hand.spacing)
    assert engine.jobs == []


def test_what_the_user_has_set_stays(qtbot: Any, viewer: Any, engine: Any, ct: Path, series: Path) -> None:
    (layer,) = viewer.open(ct, plugin="napari", scale=(2, 1, 1))
    form = docked(viewer, AutomaticWidget)
    form.image.wait_for_file()
    np.testing.assert_allclose(layer.scale, [2, 1, 1])
    assert not form.image.file.words.isVisible()
    (named,) = viewer.open(series, plugin="napari", axis_labels=["z", "t", "y", "x"])
    form.image.wait_for_file()
    assert form.image.image().axes == "ZTYX"
    assert list(named.axis_labels) == ["z", "t", "y", "x"]
    assert engine.jobs == []


@pytest.mark.usefixtures("engine")
def test_other_pixels_than_the_files_have_nothing_of_it(viewer: Any, ct: Path) -> None:
    (layer,) = viewer.open(ct, plugin="napari")
    layer.data = np.zeros((6, 20, 50), np.int16)
    form = docked(viewer, AutomaticWidget)
    form.image.wait_for_file()
    np.testing.assert_allclose(layer.scale, 1)
    assert not form.image.file.words.isVisible()


def test_a_file_that_takes_long_is_waited_for_and_said(
    qtbot: Any, viewer: Any, engine: Any, ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    go = threading.Event()
    read = file_facts.read_facts
    monkeypatch.setattr(file_facts, "read_facts", lambda path: go.wait(30) and read(path))
    (layer,) = viewer.open(ct, plugin="napari")
    form = docked(viewer, AutomaticWidget)
    with pytest.raises(AxesError, match="still being read"):
        form.image.image()
    go.set()
    qtbot.waitUntil(lambda: file_facts.applied_facts(layer) is not None)
    assert form.image.image().units["Z"] == "mm"
    assert engine.jobs == []


def test_our_reader_brings_axes_spacing_and_channels(viewer: Any, engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "cells.ome.tif"
    pixels = np.zeros((2, 40, 50), np.uint16)
    tifffile.imwrite(
        path,
        pixels,
        metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
    )
    (layer,) = viewer.open(path, plugin="napari-foundseg")
    assert layer.name == "cells"
    assert list(layer.axis_labels) == ["c", "y", "x"]
    np.testing.assert_allclose(layer.scale, [1, 0.5, 0.5])
    assert layer.metadata[CHANNEL_NAMES] == ["DAPI", "GFP"]
    form = docked(viewer, AutomaticWidget)
    assert form.image.channel.combo.currentText() in ("Channel shown: DAPI (1 of 2)", "Channel shown: GFP (2 of 2)")
    assert not form.image.file.words.isVisible()
    assert engine.jobs == []


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("shape", "axes"), [((64, 80, 1), "YXC"), ((1, 64, 80), "ZYX"), ((64, 80, 2), "YXC"), ((2, 64, 80), "ZYX")]
)
def test_flat_images_are_flat(viewer: Any, shape: tuple[int, ...], axes: str) -> None:
    layer = viewer.add_image(np.zeros(shape, np.float32), rgb=False)
    form = docked(viewer, AutomaticWidget)
    image = form.image.image()
    assert image.axes == axes
    assert image.shape == shape[: len(axes.replace("C", ""))]
    overlay = form.image.target().overlay
    labels = Labels(overlay.expanded(np.zeros(image.shape, np.uint16)), **overlay.transforms)
    assert overlay.lies_under(labels)
    assert layer in viewer.layers


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("resolution", [None, (2, 2)], ids=["plain", "sized"])
def test_a_file_of_one_channel_that_comes_last_is_flat(
    qtbot: Any, viewer: Any, tmp_path: Path, resolution: Any
) -> None:
    path = tmp_path / "flat.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (64, 80, 1)).astype(np.uint16)
    sized = {} if resolution is None else {"resolution": resolution, "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, **sized)
    (layer,) = viewer.open(str(path), plugin="napari")
    assert layer.data.shape == (64, 80, 1)
    form = docked(viewer, AutomaticWidget)
    form.image.wait_for_file()
    image = form.image.image()
    assert (image.axes, image.shape) == ("YXC", (64, 80))
    assert form.image._fold.button.text() == "Axes YXC and contrast"
    assert "Z" not in form.image.file.words.text()


def test_what_our_reader_left_out_of_a_file_is_said_where_its_layer_is_chosen(
    qtbot: Any, viewer: Any, tmp_path: Path
) -> None:
    path = tmp_path / "preview.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(np.full((16, 20), 9, np.uint8))
        file.write(np.random.default_rng(0).integers(0, 255, (64, 80)).astype(np.uint8))
    viewer.open(str(path), plugin="napari")
    form = docked(viewer, AutomaticWidget)
    row = form.image.file
    qtbot.waitUntil(row.isVisible, timeout=30_000)
    assert "as Worklist, Batch and the command line read it" in row.words.text()
    assert "16" in row.words.text()
    assert not row.undo_button.isVisible()


def test_a_damaged_file_that_napari_opened_is_named_in_the_form(qtbot: Any, viewer: Any, tmp_path: Path) -> None:
    path = tmp_path / "cells.png"
    pixels = np.random.default_rng(0).integers(0, 200, (40, 50)).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    (layer,) = viewer.open(path, plugin="napari")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    form = docked(viewer, AutomaticWidget)
    qtbot.waitUntil(lambda: "refused" in form.image.file.words.text())
    assert form.image.file.words.isVisibleTo(form)
    assert "the file is damaged: its pixels cannot be unpacked" in form.image.file.words.text()
    assert form.image.file.undo_button.isHidden()
    assert np.array_equal(layer.data, pixels)

"""Results opened and saved in a real window, as File > Open and File > Save do it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from napari.layers._source import Source

from napari_foundseg.core.errors import InputReplacedError, KeptError
from napari_foundseg.io.layer_files import write_layer
from napari_foundseg.io.writers import write_labels, write_table
from napari_foundseg.widgets.batch.batch_dock import BatchWidget
from napari_foundseg.widgets.objects.objects_dock import ObjectsWidget

pytestmark = pytest.mark.gui


@pytest.mark.parametrize("ending", [".ome.tif", ".ome.zarr"])
def test_a_result_is_opened_corrected_and_saved(
    viewer: Any, scene: SimpleNamespace, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"cells_labels{ending}"
    sizes = {"Y": 0.5, "X": 0.5}, {"Y": "µm", "X": "µm"}
    write_labels(path, scene.automatic.labels, "YX", *sizes, {1: (255, 0, 0, 255), 2: (0, 0, 255, 255)})
    write_table(tmp_path / "cells_labels.csv", scene.automatic.table)
    viewer.add_image(scene.image, scale=(0.5, 0.5), units=("um", "um"))
    (labels,) = viewer.open(path, plugin="napari-foundseg")
    assert type(labels).__name__ == "Labels"
    assert labels.features["index"].tolist() == [1, 2]
    np.testing.assert_array_equal(labels.get_color(2), (0, 0, 1, 1))
    assert viewer.layers[0].extent.world.tolist() == labels.extent.world.tolist()
    labels.data_setitem((np.array([0, 1]), np.array([5, 5])), 2)
    viewer.layers.selection.active = labels
    assert str(path) in viewer.layers.save(str(path), selected=True, plugin="napari-foundseg")
    viewer.layers.remove(labels)
    (again,) = viewer.open(path, plugin="napari-foundseg")
    np.testing.assert_array_equal(again.data, labels.data)
    assert again.scale.tolist() == [0.5, 0.5]
    assert again.units == labels.units
    np.testing.assert_array_equal(again.get_color(2), (0, 0, 1, 1))
    assert again.features["area"].tolist() == labels.features["area"].tolist()


@pytest.mark.parametrize("ending", [".tif", ".png", ".ome.zarr"])
def test_labels_are_saved_over_no_file_of_another_layer(
    viewer: Any, scene: SimpleNamespace, tmp_path: Path, ending: str
) -> None:
    raw = tmp_path / f"raw{ending}"
    write_labels(raw, scene.image)
    truth = tmp_path / f"truth_labels{ending}"
    write_labels(truth, scene.automatic.labels)
    # As a layer of napari's own reader has it.
    viewer.add_image(scene.image, name="raw")._source = Source(path=str(raw))
    viewer.open(truth, plugin="napari-foundseg")
    labels = viewer.add_labels(np.ones_like(scene.automatic.labels), name="mine")
    viewer.layers.selection = {labels}
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for taken in (raw, truth):
        with pytest.raises(InputReplacedError, match=f"is the input .*{taken.name}"):
            viewer.layers.save(str(taken), selected=True, plugin="napari-foundseg")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    viewer.layers.save(str(tmp_path / f"mine{ending}"), selected=True, plugin="napari-foundseg")
    assert (tmp_path / f"mine{ending}").exists()


def test_labels_are_not_saved_over_the_image_of_their_run(tmp_path: Path) -> None:
    raw = tmp_path / "raw.tif"
    write_labels(raw, np.ones((5, 5), np.uint16))
    layer = Labels(np.zeros((5, 5), np.uint16), metadata={"foundseg": {"image": {"source": str(raw)}}})
    before = raw.read_bytes()
    with pytest.raises(InputReplacedError, match=r"raw\.tif"):
        write_layer(str(raw), *layer.as_layer_data_tuple()[:2])
    assert raw.read_bytes() == before


def test_an_ome_zarr_with_other_things_is_kept_by_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    write_labels(path, np.ones((5, 5), np.uint16))
    (path / "labels").mkdir()
    (path / "labels" / "mine.txt").touch()
    with pytest.raises(KeptError, match="other things"):
        write_layer(str(path), *Labels(np.zeros((5, 5), np.uint16)).as_layer_data_tuple()[:2])
    assert (path / "labels" / "mine.txt").exists()


def test_a_table_or_recipe_is_saved_over_no_image(
    viewer: Any, engine: Any, scene: SimpleNamespace, tmp_path: Path
) -> None:
    raw = tmp_path / "raw.tif"
    write_labels(raw, scene.image)
    viewer.add_image(scene.image, name="raw")._source = Source(path=str(raw))
    viewer.add_labels(scene.automatic.labels, name="objects")
    before = raw.read_bytes()
    objects = ObjectsWidget(viewer)
    viewer.window.add_dock_widget(objects)
    objects.save_table(str(raw))
    assert "is the input" in objects.message.text()
    (tmp_path / "recipe.yaml").write_text("mine")
    for chosen, words in ((tmp_path / "recipe", "exists already"), (raw, "is the input")):
        batch = BatchWidget(viewer)
        batch.ask_path = lambda _kind, chosen=chosen: [str(chosen)]
        batch.save_recipe()
        assert words in batch.messages["recipe"].text()
        batch.release()
    assert raw.read_bytes() == before
    assert (tmp_path / "recipe.yaml").read_text() == "mine"

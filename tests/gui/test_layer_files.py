"""Results opened and saved in a real window, as File > Open and File > Save do it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_foundseg.io.writers import write_labels, write_table

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

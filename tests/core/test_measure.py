from __future__ import annotations

import numpy as np
import pytest

from napari_foundseg.core.measure import measure


def test_objects_are_measured_in_the_unit() -> None:
    labels = np.zeros((40, 50), np.uint16)
    labels[10:20, 10:30] = 3
    image = np.zeros((40, 50, 2))
    image[10:20, 10:30, 1] = 5
    table = measure(labels, "YX", [0.5, 0.5], "µm", image)
    row = table.iloc[0]
    assert row["label"] == 3
    assert row["pixels"] == 200
    assert row["area (µm²)"] == pytest.approx(50)
    assert row["equivalent diameter (µm)"] == pytest.approx(np.sqrt(4 * 50 / np.pi))
    assert row["Feret diameter (µm)"] == pytest.approx(np.hypot(5, 10), rel=0.05)
    assert (row["y"], row["x"]) == (14.5, 19.5)
    assert (row["mean intensity 0"], row["mean intensity 1"]) == (0, 5)


def test_a_volume_has_a_volume() -> None:
    labels = np.zeros((6, 20, 20), np.uint16)
    labels[1:4, 5:10, 5:10] = 1
    row = measure(labels, "ZYX", [2.0, 0.5, 0.5], "µm").iloc[0]
    assert row["volume (µm³)"] == pytest.approx(75 * 2 * 0.25)
    assert row[["z", "y", "x"]].tolist() == [2, 7, 7]


def test_each_point_in_time_has_its_own_rows() -> None:
    labels = np.zeros((3, 20, 20), np.uint16)
    labels[0, 2:5, 2:5], labels[2, 2:8, 2:8] = 1, 1
    table = measure(labels, "TYX", [None, 1.0, 1.0], "px")
    assert table[["label", "t", "pixels"]].to_numpy().tolist() == [[1, 0, 9], [1, 2, 36]]


def test_no_object_gives_no_row() -> None:
    assert len(measure(np.zeros((5, 5), np.uint16), "YX", [1.0, 1.0], "px")) == 0

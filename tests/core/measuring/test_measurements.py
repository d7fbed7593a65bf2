from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_foundseg.core.editing.object_boxes import object_boxes
from napari_foundseg.core.measuring.measurements import measure, remeasure
from napari_foundseg.core.measuring.shapes import feret_diameter

LABELS = st.tuples(st.integers(1, 5), st.integers(2, 6), st.integers(2, 6)).flatmap(
    lambda shape: arrays(np.uint16, shape, elements=st.sampled_from([0, 0, 1, 2, 7]))
)


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
    assert row["Feret diameter (µm)"] == pytest.approx(np.hypot(5, 10))
    assert (row["y"], row["x"]) == (14.5, 19.5)
    assert row[["y0", "x0", "y1", "x1"]].tolist() == [10, 10, 19, 29]
    assert (row["mean intensity 0"], row["mean intensity 1"]) == (0, 5)


def test_a_volume_has_a_volume() -> None:
    labels = np.zeros((6, 20, 20), np.uint16)
    labels[1:4, 5:10, 5:10] = 1
    row = measure(labels, "ZYX", [2.0, 0.5, 0.5], "µm").iloc[0]
    assert row["volume (µm³)"] == pytest.approx(75 * 2 * 0.25)
    assert row["equivalent diameter (µm)"] == pytest.approx(np.cbrt(6 * 37.5 / np.pi))
    assert row["Feret diameter (µm)"] == pytest.approx(np.sqrt(6**2 + 2.5**2 + 2.5**2))
    assert row[["z", "y", "x"]].tolist() == [2, 7, 7]


def test_each_point_in_time_has_its_own_rows() -> None:
    labels = np.zeros((3, 20, 20), np.uint16)
    labels[0, 2:5, 2:5], labels[2, 2:8, 2:8] = 1, 1
    table = measure(labels, "TYX", [None, 1.0, 1.0], "px")
    assert table[["label", "t", "pixels"]].to_numpy().tolist() == [[1, 0, 9], [1, 2, 36]]


def test_no_object_gives_no_row() -> None:
    assert len(measure(np.zeros((5, 5), np.uint16), "YX", [1.0, 1.0], "px")) == 0


def test_ids_of_any_size_are_measured() -> None:
    labels = np.zeros((6, 6), np.uint64)
    labels[1:3, 1:3], labels[4, 4] = 2**40, 5
    assert measure(labels, "YX", [1.0, 1.0], "px")[["label", "pixels"]].to_numpy().tolist() == [[5, 1], [2**40, 4]]


@given(LABELS, st.tuples(*[st.sampled_from([0.25, 1.0, 3.0])] * 3))
def test_measurements_are_those_of_the_pixels(labels: np.ndarray, spacing: tuple[float, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*labels.shape, 2))
    table = measure(labels, "ZYX", spacing, "µm", image)
    assert table["label"].tolist() == np.unique(labels[labels > 0]).tolist()
    for _, row in table.iterrows():
        own = labels == row["label"]
        places = np.argwhere(own)
        assert row["pixels"] == len(places)
        assert row["volume (µm³)"] == pytest.approx(len(places) * np.prod(spacing))
        np.testing.assert_allclose(row[["z", "y", "x"]].astype(float), places.mean(0))
        corners = np.array([p + shift for p in places for shift in product((0, 1), repeat=3)]) * spacing
        widest = max(np.linalg.norm(corners - c, axis=1).max() for c in corners)
        assert row["Feret diameter (µm)"] == pytest.approx(widest)
        np.testing.assert_allclose([row["mean intensity 0"], row["mean intensity 1"]], image[own].mean(0))


@given(arrays(bool, (4, 5)).filter(np.any))
def test_the_feret_diameter_in_the_plane(mask: np.ndarray) -> None:
    corners = np.array([p + shift for p in np.argwhere(mask) for shift in product((0, 1), repeat=2)]) * (2, 0.5)
    assert feret_diameter(mask, (2, 0.5)) == pytest.approx(
        max(np.linalg.norm(corners - c, axis=1).max() for c in corners)
    )


@given(LABELS, st.data())
@pytest.mark.parametrize("spacing", [(2.0, 1.0, 1.0), (None, 1.0, 1.0)])
def test_what_an_edit_touched_is_all_that_has_to_be_measured(
    spacing: tuple[float | None, ...], labels: np.ndarray, data: st.DataObject
) -> None:
    before = measure(labels, "ZYX", spacing, "px")
    after = labels.copy()
    box = tuple(
        slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)), label="box"))) for n in labels.shape
    )
    after[box] = data.draw(arrays(np.uint16, after[box].shape, elements=st.sampled_from([0, 1, 2, 9])), label="new")
    changed = labels != after
    ids = {int(i) for i in (*labels[changed], *after[changed])}
    table = remeasure(before, after, "ZYX", spacing, "px", None, ids, [box])
    pd.testing.assert_frame_equal(table, measure(after, "ZYX", spacing, "px"), rtol=1e-9)  # sums of floats


@given(LABELS)
def test_boxes_hold_their_objects_and_no_more(labels: np.ndarray) -> None:
    boxes = object_boxes(labels)
    assert set(boxes) == set(np.unique(labels[labels > 0]).tolist())
    for label, box in boxes.items():
        places = np.argwhere(labels == label)
        assert [(p.start, p.stop - 1) for p in box] == list(zip(places.min(0), places.max(0), strict=True))

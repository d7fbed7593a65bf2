from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.draw import disk

from napari_foundseg.core.watershed import instance_scores, instances


def true_maps(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The maps that a perfect decoder gives: foreground, centre distance, boundary distance."""
    maps = np.zeros((3, *labels.shape))
    maps[0] = labels > 0
    maps[1:] = 1
    grid = np.indices(labels.shape)
    for label in np.unique(labels[labels > 0]):
        inside = labels == label
        depth = ndimage.distance_transform_edt(np.pad(inside, 1, constant_values=True))[1:-1, 1:-1]
        deepest = np.array(np.unravel_index(np.argmax(depth * inside), labels.shape))
        distance = np.linalg.norm(grid - deepest[:, None, None], axis=0)
        maps[1][inside] = distance[inside] / max(distance[inside].max(), 1e-9)
        maps[2][inside] = 1.5 / (1.5 + depth[inside])
    return maps


def same_objects(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    pairs = {(int(i), int(j)) for i, j in zip(a.ravel(), b.ravel(), strict=True)}
    return len(pairs) == len(np.unique(a)) == len(np.unique(b)) and all((i == 0) == (j == 0) for i, j in pairs)


@given(
    rows=st.lists(st.integers(5, 14), min_size=1, max_size=4),
    columns=st.lists(st.integers(5, 14), min_size=1, max_size=4),
)
def test_touching_rectangles_come_back_pixel_by_pixel(rows: list[int], columns: list[int]) -> None:
    blocks = np.arange(1, len(rows) * len(columns) + 1).reshape(len(rows), len(columns))
    labels = np.pad(blocks.repeat(rows, 0).repeat(columns, 1), 3)
    assert same_objects(instances(true_maps(labels)), labels)


@given(
    discs=st.lists(st.tuples(st.integers(10, 70), st.integers(10, 70), st.integers(5, 9)), min_size=1, max_size=12),
)
def test_touching_discs_come_back_pixel_by_pixel(discs: list[tuple[int, int, int]]) -> None:
    labels = np.zeros((80, 80), int)
    placed: list[tuple[int, int, int]] = []
    for y, x, radius in discs:
        if all(np.hypot(y - v, x - u) >= radius + r - 1 for v, u, r in placed):
            placed.append((y, x, radius))
            area = disk((y, x), radius)
            free = labels[area] == 0
            labels[area[0][free], area[1][free]] = len(placed)
    assert same_objects(instances(true_maps(labels)), labels)


def test_nothing_gives_nothing() -> None:
    maps = np.zeros((3, 8, 9), np.float32)
    maps[1:] = 1
    labels = instances(maps)
    assert labels.dtype == np.uint16
    assert not labels.any()
    assert all(len(score) == 0 for score in instance_scores(maps, labels))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ids_have_no_gap_and_small_objects_go(dtype: type) -> None:
    labels = np.zeros((60, 60), int)
    labels[2:8, 2:8], labels[20:40, 20:40], labels[45:58, 5:18] = 1, 2, 3
    maps = true_maps(labels).astype(dtype)
    assert same_objects(instances(maps), labels)
    larger = instances(maps, min_area=50)
    assert same_objects(larger, np.where(labels == 1, 0, labels))
    assert np.unique(larger).tolist() == [0, 1, 2]


def test_scores_are_the_decoders_certainty() -> None:
    labels = np.zeros((10, 10), np.uint16)
    labels[:5], labels[5:] = 1, 2
    maps = np.ones((3, 10, 10))
    maps[0, 5:] = 0.6
    predicted, stability = instance_scores(maps, labels)
    assert predicted == pytest.approx([1.0, 0.6])
    assert stability == pytest.approx([1.0, 0.0])


def two_hills(bridge: float, small: int = 9, ridge: float = 0.2) -> np.ndarray[Any, Any]:
    """Maps of a bar with two places that are deep inside, the second `small` pixels wide, and `bridge` between.

    There the boundary is nearer by `ridge`, too.
    """
    maps = np.ones((3, 20, 60), np.float32)
    maps[0] = 0
    maps[0, 5:15, 5:55] = 1
    maps[1, 5:15, 5:55] = bridge
    maps[2, 5:15, 5:55] = 0.2
    maps[1, 8:12, 10:19] = maps[1, 8 : 8 + min(4, small), 40 : 40 + small] = 0.1
    maps[2, 5:15, 28:31] += ridge
    return maps


def test_a_seed_that_falls_apart_at_a_lower_threshold_is_two() -> None:
    assert instances(two_hills(0.5), centre_threshold=0.6).max() == 2
    assert instances(two_hills(0.7), centre_threshold=0.6).max() == 2
    assert instances(two_hills(0.1), centre_threshold=0.6).max() == 1


def test_parts_of_a_seed_without_a_ridge_between_are_one() -> None:
    assert instances(two_hills(0.5, ridge=0.02), centre_threshold=0.6).max() == 1
    # Seeds that are apart at the threshold that was asked for stay apart.
    assert instances(two_hills(0.5, ridge=0.02), centre_threshold=0.4).max() == 2


def test_a_few_pixels_do_not_make_a_seed_of_their_own() -> None:
    assert instances(two_hills(0.5, small=2), centre_threshold=0.6).max() == 1


def test_calibrated_scores_are_lower_where_the_decoder_doubts() -> None:
    labels = np.zeros((40, 80), int)
    labels[10:30, 10:30], labels[10:30, 50:70] = 1, 2
    maps = true_maps(labels)
    maps[0, 10:30, 50:70] = 0.65
    sure, _ = instance_scores(maps, labels, (1.0, -4.0, -1.0))
    assert sure[0] == pytest.approx(1.0)
    assert sure[1] == pytest.approx(1 - 4 * 0.65 * 0.35)
    assert all(0 <= s <= 1 for s in instance_scores(maps, labels, (0.1, -4.0, -1.0))[0])

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_foundseg.core.editing.strokes import is_stroke, medial_points


def painted(shape: tuple[int, int], path: Any, brush: int) -> NDArray[np.bool_]:
    """What a round brush leaves along a path."""
    mask = np.zeros(shape, bool)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    for y, x in path:
        mask |= (rows - y) ** 2 + (columns - x) ** 2 <= (brush / 2) ** 2
    return mask


@settings(max_examples=30, deadline=None)
@given(brush=st.integers(1, 15), slope=st.floats(-1, 1), length=st.integers(1, 80))
def test_a_stroke_of_any_brush_is_known_and_its_points_lie_in_its_middle(brush: int, slope: float, length: int) -> None:
    path = [(60 + round(slope * t / 2), 20 + t) for t in range(length)]
    mask = painted((120, 120), path, brush)
    assert is_stroke(mask, brush)
    points = medial_points(mask, 8, 12)
    assert 1 <= len(points) <= 12
    assert all(mask[tuple(p.astype(int))] for p in points)
    away = np.linalg.norm(points[:, None] - np.array(path)[None], axis=2).min(1)
    assert away.max() <= 0.75 * brush + 1
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(len(points))
    assert apart.min() >= 8


def test_a_filled_area_is_no_stroke() -> None:
    area = painted((120, 120), [(60, 60)], 40)
    assert not is_stroke(area, 10)
    assert is_stroke(area, 40)


def test_strokes_that_cross_are_strokes() -> None:
    cross = painted((80, 80), [(40, t) for t in range(10, 70)] + [(t, 40) for t in range(10, 70)], 8)
    assert is_stroke(cross, 8)
    assert len(medial_points(cross, 8, 12)) >= 8


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1)])
def test_a_pixel_is_a_point(size: tuple[int, int]) -> None:
    assert is_stroke(np.ones(size, bool), 1)
    assert medial_points(np.ones(size, bool), 8, 12).tolist()[0] in [[0, 0], [0, 1], [1, 0]]


def test_a_stroke_across_a_large_image_keeps_its_pixels() -> None:
    mask = np.zeros((3000, 2500), bool)
    mask[np.arange(2500), np.arange(2500)] = True
    assert is_stroke(mask, 1)
    points = medial_points(mask, 8, 12).astype(int)
    assert len(points) == 12
    assert mask[tuple(points.T)].all()
    assert np.ptp(points[:, 0]) > 2400

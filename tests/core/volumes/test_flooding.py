"""Objects of a volume by a watershed in 3-D."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_foundseg.core.volumes.columns import join_columns
from napari_foundseg.core.volumes.flooding import depth_in_volume, flood


def objects(inside: NDArray[np.bool_], distance: float = 1.0) -> NDArray[Any]:
    found = flood(inside, depth_in_volume(inside, distance), distance)
    return join_columns(found)[found]


def balls(centres: list[tuple[float, float, float]], radius: float, distance: float) -> NDArray[np.bool_]:
    z, y, x = np.indices((int(60 / distance), 60, 100))
    return np.any([(distance * z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 < radius**2 for a, b, c in centres], axis=0)


@pytest.mark.parametrize("distance", [1.0, 2.0, 4.0, 6.0])
def test_balls_that_touch_are_two_without_holes_at_any_spacing(distance: float) -> None:
    inside = balls([(30, 30, 33), (30, 30, 66)], 18.0, distance)
    found = objects(inside, distance)
    ids = np.unique(found[found > 0])
    assert len(ids) == 2
    assert np.array_equal(found > 0, inside)
    for label in ids:
        own = found == label
        assert np.array_equal(ndimage.binary_fill_holes(own), own)
        assert ndimage.label(own, np.ones((3, 3, 3)))[1] == 1


@pytest.mark.parametrize("distance", [1.0, 3.0])
def test_a_bent_tube_that_changes_its_width_is_one(distance: float) -> None:
    z, y, x = np.indices((60, 100, 100))
    radius = 12 * (1 + 0.2 * np.sin(z / 5))
    inside = (y - 50 - 20 * np.sin(z / 9)) ** 2 + (x - 50 - 15 * np.cos(z / 12)) ** 2 < radius**2
    assert len(np.unique(objects(inside, distance))) == 2


def test_nothing_and_everything_are_no_errors() -> None:
    assert not objects(np.zeros((3, 8, 8), bool)).any()
    assert objects(np.ones((3, 8, 8), bool)).max() == 1

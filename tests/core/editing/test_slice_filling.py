from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_foundseg.core.editing.slice_filling import fill_between_slices, slices_text
from napari_foundseg.core.errors import PromptError

POINT = [0, 0, 0]
SPACING = [3.0, 1.0, 1.0]


def disc(y: float, x: float, radius: float, inner: float = 0) -> np.ndarray:
    rows, columns = np.indices((40, 60))
    away = np.hypot(rows - y, columns - x)
    return (away <= radius) & (away >= inner)


def stack(*ends: tuple[int, np.ndarray]) -> np.ndarray:
    labels = np.zeros((9, 40, 60), np.uint16)
    for z, shape in ends:
        labels[z][shape] = 3
    return labels


def filled(labels: np.ndarray, axis: int = 0) -> np.ndarray:
    out = labels.copy()
    for box, values in fill_between_slices(labels, [3], axis, POINT, SPACING, "ZYX").pieces:
        out[box] = values
    return out


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_others_and_painted_slices_stay_and_areas_lie_between_the_ends(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, last = (disc(*rng.uniform((12, 12, 3), (28, 48, 11))) for _ in range(2))
    labels = stack((1, first), (7, last))
    alone = filled(labels)
    areas = np.count_nonzero(alone[2:7] == 3, axis=(1, 2))
    assert areas.min() >= 0.9 * min(first.sum(), last.sum())
    assert areas.max() <= 1.1 * max(first.sum(), last.sum())
    labels[rng.random(labels.shape) < 0.1] = 8
    before = labels.copy()
    after = filled(labels)
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(after == 8, before == 8)
    np.testing.assert_array_equal(after[[0, 1, 7, 8]], before[[0, 1, 7, 8]])


def test_equal_ends_give_equal_slices_and_a_moved_ring_keeps_its_hole() -> None:
    ring = disc(20, 14, 10, 5)
    np.testing.assert_array_equal(filled(stack((2, ring), (6, ring)))[3:6] == 3, np.stack([ring] * 3))
    after = filled(stack((2, ring), (6, disc(20, 46, 10, 5))))
    np.testing.assert_array_equal(after[4] == 3, disc(20, 30, 10, 5))


def test_several_gaps_and_any_axis() -> None:
    labels = stack((0, disc(20, 20, 6)), (3, disc(20, 25, 6)), (4, disc(20, 25, 6)), (8, disc(20, 30, 6)))
    out = fill_between_slices(labels, [3], 0, POINT, SPACING, "ZYX")
    assert out.slices == {3: [1, 2, 5, 6, 7]}
    assert slices_text(out.slices[3]) == "1 to 2, 5 to 7"
    turned = np.moveaxis(labels, 0, 2)
    ((_, values),) = fill_between_slices(turned, [3], 2, POINT, [1.0, 1.0, 3.0], "YXZ").pieces
    np.testing.assert_array_equal(np.moveaxis(values, 2, 0), filled(labels))


def test_one_point_in_time_is_filled() -> None:
    one = stack((1, disc(20, 20, 6)), (5, disc(20, 24, 6)))
    film = np.stack([one, one])
    spacing = [None, *SPACING]
    ((box, values),) = fill_between_slices(film, [3], 1, [1, 0, 0, 0], spacing, "TZYX").pieces
    assert box[0] == slice(1, 2)
    np.testing.assert_array_equal(values[0], filled(one))


@pytest.mark.parametrize(
    ("slices", "words"),
    [((4,), "one slice of Z only"), ((3, 4), "no gap along Z from 3 to 4"), ((), "not at the shown")],
)
def test_nothing_to_fill_is_said(slices: tuple[int, ...], words: str) -> None:
    with pytest.raises(PromptError, match=f"Nothing to fill: .*{words}"):
        filled(stack(*((z, disc(20, 20, 5)) for z in slices)))

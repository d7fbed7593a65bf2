from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_foundseg.tasks.windows import tiling

shapes = st.tuples(st.integers(1, 900), st.integers(1, 900))


@given(shapes, st.sampled_from([64, 256]), st.integers(0, 63))
def test_cores_tile_the_picture_and_lie_in_their_windows(shape: tuple[int, int], side: int, overlap: int) -> None:
    seen = np.zeros(shape, int)
    for window, core in tiling.cover(shape, (side, side), overlap):
        tiling.part(seen, core)[:] += 1
        assert window[0] <= core[0] <= core[2] <= window[2]
        assert window[1] <= core[1] <= core[3] <= window[3]
        assert window[2] - window[0] + 1 == min(side, shape[0])
        assert window[3] - window[1] + 1 == min(side, shape[1])
    assert (seen == 1).all()


@given(st.integers(257, 2000), st.integers(1, 128))
def test_neighbouring_windows_share_the_overlap(n: int, overlap: int) -> None:
    windows = sorted({window for window, _ in tiling.cover((n, 10), (256, 256), overlap)})
    assert windows[0][0] == 0
    assert windows[-1][2] == n - 1
    assert all(a[2] - b[0] + 1 >= overlap for a, b in pairwise(windows))


@given(shapes, st.sampled_from([128, 512]), st.sampled_from([0, 32, 64]))
def test_fitted_windows_cover_the_picture_and_see_little_twice(shape: tuple[int, int], most: int, overlap: int) -> None:
    sides = tiling.fitted(shape, most, overlap)
    assert all(side <= most and side % 32 == 0 for side in sides)
    for axis, n in enumerate(shape):
        line = (n, 1) if axis == 0 else (1, n)
        own = (sides[axis], 1) if axis == 0 else (1, sides[axis])
        windows = list(tiling.cover(line, own, overlap))
        assert len(windows) == max(1, math.ceil((n - overlap) / (most - overlap)))
        assert sides[axis] * len(windows) <= n + len(windows) * (overlap + 32)


@given(shapes, st.floats(0, 0.999), st.floats(0, 0.999))
def test_a_click_lies_in_its_window_and_central(shape: tuple[int, int], fy: float, fx: float) -> None:
    y, x = int(fy * shape[0]), int(fx * shape[1])
    window = tiling.surrounding((y, x, y, x), shape, 128)
    assert window is not None
    for at, low, high, n in ((y, window[0], window[2], shape[0]), (x, window[1], window[3], shape[1])):
        assert low <= at <= high
        # A quarter of the window is seen on each side, unless the picture ends there.
        assert low == 0 or at - low >= 31
        assert high == n - 1 or high - at >= 31


def test_what_no_window_holds_has_no_window() -> None:
    assert tiling.surrounding((0, 0, 300, 5), (900, 900), 256) is None


def test_levels() -> None:
    assert tiling.coarsest((256, 200), 256) == 0
    assert tiling.coarsest((257, 200), 256) == 1
    assert tiling.coarsest((4096, 200), 256) == 4
    assert tiling.coarsest((5, 5), 256) == tiling.FINEST
    # A box of a third of the window is looked at at native resolution, one twice as large at half of it.
    assert tiling.box_level((0, 0, 84, 50), (2000, 2000), 256) == 0
    assert tiling.box_level((0, 0, 169, 50), (2000, 2000), 256) == 1
    assert tiling.box_level((0, 0, 41, 41), (2000, 2000), 256) == -1
    assert tiling.box_level((0, 0, 1999, 1999), (2000, 2000), 256) == tiling.coarsest((2000, 2000), 256)


def test_only_inner_sides_of_a_window_cut_an_object() -> None:
    shape, window = (300, 300), (0, 44, 255, 299)
    assert not tiling.touches((0, 60, 20, 299), window, shape)
    assert tiling.touches((0, 44, 20, 60), window, shape)
    assert tiling.touches((240, 60, 255, 70), window, shape)

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_foundseg.core.labels import plane_view
from napari_foundseg.core.masks import EMPTY_BOX, Mask, paint
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.painting import Painting
from napari_foundseg.core.result import Segmentation


def random_masks(seed: int, n: int, index_of: Any = lambda _rng: ()) -> tuple[Mask, ...]:
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(n):
        plane = np.zeros((20, 24), bool)
        y, x = rng.integers(0, (18, 22))
        plane[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = True
        masks.append(
            Mask.from_array(plane & (rng.random(plane.shape) < 0.7), predicted_iou=rng.random(), index=index_of(rng))
        )
    return tuple(masks)


@given(seed=st.integers(0, 999), n=st.integers(0, 7))
def test_the_table_says_what_would_be_drawn(seed: int, n: int) -> None:
    masks = random_masks(seed, n)
    painting = Painting((20, 24), "YX", masks)
    drawn = np.zeros((20, 24), np.uint16)
    paint(drawn, list(enumerate(masks, 1)))
    np.testing.assert_array_equal(painting.draw(), drawn)
    scores = [m.predicted_iou for m in masks], [m.stability_score for m in masks]
    expected = object_table(drawn, "YX", predicted_iou=scores[0], stability_score=scores[1])
    pd.testing.assert_frame_equal(painting.table(), expected, check_dtype=False)


@pytest.mark.parametrize("axes", ["TZYX", "YXZT", "XZYT"])
def test_each_mask_lies_on_its_slice(axes: str) -> None:
    masks = random_masks(3, 6, lambda rng: tuple(int(v) for v in rng.integers(0, 2, 2)))
    size = {"T": 2, "Z": 2, "Y": 20, "X": 24}
    painting = Painting(tuple(size[a] for a in axes), axes, masks)
    labels = painting.draw()
    table = painting.table()
    first, second = (a.lower() for a in axes if a not in "YX")
    assert list(zip(table[first], table[second], strict=True)) == [m.index for m in masks]
    for i, mask in enumerate(masks, 1):
        own = plane_view(labels, axes, mask.index) == i
        assert own.sum() == (labels == i).sum() == table["area"][i - 1]


def test_an_empty_mask_keeps_its_row_and_slice() -> None:
    full, empty = np.ones((1, 1), bool), np.zeros((0, 0), bool)
    masks = (Mask((2, 3, 2, 3), full, index=(1,)), Mask(EMPTY_BOX, empty, index=(2,)))
    table = Painting((3, 4, 5), "ZYX", masks).table()
    assert table["area"].tolist() == [1, 0]
    assert table["z"].tolist() == [1, 2]
    assert table.loc[1, ["y0", "x0", "y1", "x1"]].tolist() == [0, 0, -1, -1]


def test_a_result_on_a_large_stack_stays_small_until_its_labels_are_asked_for() -> None:
    mask = Mask((5, 5, 9, 9), np.ones((5, 5), bool), index=(99,))
    painting = Painting((200, 1000, 1000), "ZYX", (mask,))
    result = Segmentation(painting, painting.table())
    assert len(pickle.dumps(result)) < 10_000
    small = Painting((100, 12, 12), "ZYX", (mask,))
    back = pickle.loads(pickle.dumps(Segmentation(small, small.table())))
    assert back.labels[99].sum() == 25
    assert back.labels is back.labels

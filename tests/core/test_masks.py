from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_foundseg.core.masks import Mask, Nesting, intersection, iou, paint

SHAPE = (9, 11)
ARRAYS = hnp.arrays(bool, SHAPE)


@st.composite
def rectangles(draw: st.DrawFn) -> list[tuple[np.ndarray[Any, Any], float, tuple[int, ...]]]:
    """Arrays with a score and a slice: rectangles, which overlap often."""
    out = []
    for _ in range(draw(st.integers(0, 9))):
        array = np.zeros(SHAPE, bool)
        y, x = draw(st.integers(0, 8)), draw(st.integers(0, 10))
        array[y : y + draw(st.integers(0, 6)), x : x + draw(st.integers(0, 6))] = True
        out.append((array, draw(st.sampled_from([0.2, 0.5, 0.9])), (draw(st.integers(0, 1)),)))
    return out


def full(mask: Mask) -> np.ndarray[Any, Any]:
    array = np.zeros(SHAPE, bool)
    y0, x0, y1, x1 = mask.box
    array[y0 : y1 + 1, x0 : x1 + 1] = mask.crop
    return array


def naive_iou(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    return float((a & b).sum() / (a | b).sum()) if (a & b).any() else 0.0


@given(array=ARRAYS)
def test_a_mask_keeps_its_pixels(array: np.ndarray[Any, Any]) -> None:
    mask = Mask.from_array(array)
    assert np.array_equal(full(mask), array)
    assert mask.area == array.sum()


@given(a=ARRAYS, b=ARRAYS)
def test_overlap_agrees_with_whole_arrays(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> None:
    first, second = Mask.from_array(a), Mask.from_array(b)
    assert intersection(first, second) == (a & b).sum()
    assert iou(first, second) == pytest.approx(naive_iou(a, b))


def test_a_moved_mask() -> None:
    mask = Mask.from_array(np.ones((2, 3), bool), offset=(4, 5))
    assert mask.box == (4, 5, 5, 7)
    assert mask.moved(1, -2).box == (5, 3, 6, 5)
    empty = Mask.from_array(np.zeros((2, 3), bool))
    assert empty.moved(3, 3).area == 0


def test_a_box_that_does_not_fit_its_crop_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Mask((0, 0, 2, 2), np.ones((2, 2), bool))


@given(found=rectangles())
def test_who_wins_a_pixel(found: Any) -> None:
    """The higher predicted IoU, of equal ones the smaller, of equal ones the earlier."""
    masks = [(i + 1, Mask.from_array(a, predicted_iou=score)) for i, (a, score, _) in enumerate(found)]
    plane = np.zeros(SHAPE, np.uint16)
    paint(plane, masks)
    for y, x in np.ndindex(SHAPE):
        claims = [i for i, (a, _, _) in enumerate(found) if a[y, x]]
        winner = min(claims, key=lambda i: (-found[i][1], found[i][0].sum(), i)) + 1 if claims else 0
        assert plane[y, x] == winner


@pytest.mark.parametrize(("rule", "winner"), [("best score", 2), ("smaller", 1), ("larger", 3)])
def test_a_nesting_rule_says_who_gets_what_lies_in_several_objects(rule: Nesting, winner: int) -> None:
    sides, scores = (2, 4, 6), (0.5, 0.9, 0.7)
    masks = [Mask.from_array(np.ones((n, n), bool), predicted_iou=s) for n, s in zip(sides, scores, strict=True)]
    plane = np.zeros((8, 8), np.uint16)
    paint(plane, list(enumerate(masks, 1)), rule)
    assert (plane[:2, :2] == winner).all()


def test_painting_leaves_other_pixels_alone() -> None:
    plane = np.full(SHAPE, 9, np.uint16)
    paint(plane, [(3, Mask.from_array(np.ones((2, 2), bool), offset=(1, 1)))])
    assert np.count_nonzero(plane == 3) == 4
    assert np.count_nonzero(plane == 9) == plane.size - 4

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.prompts import Prompt

COORDINATE = st.floats(-1e4, 1e4)
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE), max_size=5)
MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)).filter(lambda m: m.any())


@given(
    points=POINTS,
    box=st.none() | st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE),
    mask=st.none() | MASKS,
    index=st.none() | st.lists(st.integers(0, 9), max_size=3),
    data=st.data(),
)
def test_json_round_trip(points: Any, box: Any, mask: Any, index: Any, data: st.DataObject) -> None:
    if not points and box is None and mask is None:
        return
    labels = data.draw(st.lists(st.integers(0, 1), min_size=len(points), max_size=len(points)))
    prompt = Prompt(points, labels, box, mask, index)
    again = Prompt.from_json(json.loads(json.dumps(prompt.to_json())))
    assert (again.points, again.labels, again.box, again.index) == (
        prompt.points,
        prompt.labels,
        prompt.box,
        prompt.index,
    )
    assert (again.mask is None) == (mask is None)
    assert mask is None or np.array_equal(again.mask, mask)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({}, "empty"),
        ({"points": [(1, 2)], "labels": [2]}, "0 or 1"),
        ({"points": [(1, 2)], "labels": [1, 0]}, "0 or 1"),
        ({"points": [(1,)]}, r"\(y, x\)"),
        ({"points": [(1, 2), (1, 2, 3)]}, "points"),
        ({"points": [(np.nan, 2)]}, "finite"),
        ({"points": "ab"}, "numbers"),
        ({"box": (1, 2, 3)}, "box must be"),
        ({"box": (1, 2, 3, np.inf)}, "finite"),
        ({"mask": np.zeros((4, 4), bool)}, "empty"),
        ({"mask": np.ones((2, 4, 4), bool)}, "2-D"),
        ({"mask": np.ones((4, 4))}, "bool"),
    ],
)
def test_a_malformed_prompt_is_named(keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(PromptError, match=words):
        Prompt(**keywords)


def test_arrays_do_as_well_as_lists() -> None:
    prompt = Prompt(np.array([[1, 2], [3, 4]]), np.array([1, 0]), np.array([0, 0, 5, 5]))
    assert prompt.points == ((1, 2), (3, 4))
    assert prompt.labels == (1, 0)


@given(corners=st.lists(st.integers(0, 30), min_size=4, max_size=4))
def test_the_corners_of_a_box_come_in_any_order(corners: list[int]) -> None:
    y0, x0, y1, x1 = corners
    assert Prompt(box=(y0, x0, y1, x1)).box == Prompt(box=(y1, x1, y0, x0)).box == Prompt(box=(y0, x1, y1, x0)).box


def test_a_prompt_finds_its_slice() -> None:
    index, flat = Prompt(points=[(1, 4, 5)], box=(1, 2, 3, 1, 8, 9)).in_plane((3, 20, 30), "ZYX")
    assert index == (1,)
    assert (flat.points, flat.box) == (((4, 5),), (2, 3, 8, 9))
    index, flat = Prompt(points=[(4, 1, 5)]).in_plane((20, 3, 30), "YZX")
    assert (index, flat.points) == ((1,), ((4, 5),))
    index, _ = Prompt(mask=np.ones((20, 30), bool), index=(2,)).in_plane((3, 20, 30), "ZYX")
    assert index == (2,)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (Prompt(points=[(4, 5)]), "3 coordinates"),
        (Prompt(points=[(1, 4, 5)], box=(2, 3, 8, 9)), "3 coordinates"),
        (Prompt(points=[(0, 4, 5), (1, 4, 5)]), "one slice"),
        (Prompt(points=[(3, 4, 5)]), "outside"),
        (Prompt(points=[(-1, 4, 5)]), "outside"),
        (Prompt(points=[(1, 20, 5)]), "outside"),
        (Prompt(points=[(1, 4, -0.6)]), "outside"),
        (Prompt(box=(1, 25, 3, 1, 28, 9)), "outside"),
        (Prompt(mask=np.ones((20, 30), bool)), "index="),
        (Prompt(mask=np.ones((20, 31), bool), index=(1,)), r"\(20, 30\)"),
        (Prompt(mask=np.ones((20, 30), bool), index=(9,)), "outside"),
    ],
)
def test_a_prompt_that_does_not_fit_the_image_is_named(prompt: Prompt, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        prompt.in_plane((3, 20, 30), "ZYX")


def test_a_box_that_hangs_over_the_edge_is_clipped() -> None:
    _, flat = Prompt(box=(-5, -6, 100, 9)).in_plane((20, 30), "YX")
    assert flat.box == (0, 0, 19, 9)

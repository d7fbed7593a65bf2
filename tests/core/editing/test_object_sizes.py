from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_foundseg.core.editing.difference import Difference
from napari_foundseg.core.editing.object_sizes import Census

ids = st.sampled_from([0, 0, 1, 2, 3, 2**21, 2**60])
images = arrays(np.uint64, (4, 5), elements=ids)


def counted(labels: np.ndarray[Any, Any]) -> dict[int, int]:
    found, counts = np.unique(labels[labels > 0], return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


@given(states=st.lists(images, min_size=1, max_size=5))
def test_a_census_kept_up_to_date_is_one_made_anew(states: list[np.ndarray[Any, Any]]) -> None:
    census = Census.of(states[0])
    for before, after in pairwise(states):
        part = Difference.between((0, 0), before, after)
        turned = census.take([] if part is None else [part])
        assert turned == set(counted(before)) ^ set(counted(after))
        assert census.ids == sorted(counted(after))
        assert {i: census.size(i) for i in census.ids} == counted(after)
        assert census.largest == max(counted(after), default=0)
    assert census.size(99) == 0


def test_more_pixels_than_are_counted_at_once() -> None:
    labels = np.zeros((3, 1 << 19), np.uint16)
    labels[:, ::2] = 7
    assert Census.of(labels).size(7) == labels.size // 2

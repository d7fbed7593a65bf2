from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_foundseg.core.labels import add_mask, label_dtype, next_free_id
from napari_foundseg.core.masks import Mask


@given(largest=st.integers(0, 2**63))
def test_ids_never_wrap(largest: int) -> None:
    dtype = label_dtype(largest)
    assert dtype.kind == "u"
    assert dtype.itemsize >= 2
    assert int(np.array(largest, dtype)) == largest


@pytest.mark.parametrize(
    ("largest", "dtype"), [(0, "u2"), (65535, "u2"), (65536, "u4"), (2**32 - 1, "u4"), (2**32, "u8")]
)
def test_ids_are_no_wider_than_needed(largest: int, dtype: str) -> None:
    assert label_dtype(largest) == np.dtype(dtype)


def test_the_next_free_id() -> None:
    assert next_free_id(np.zeros((3, 3), np.uint16)) == 1
    assert next_free_id(np.zeros((0, 3), np.uint16)) == 1
    assert next_free_id(np.array([[0, 65535]], np.uint16)) == 65536


@pytest.mark.parametrize(("overlap", "count"), [("keep others", 5), ("overwrite", 6)])
def test_other_objects_keep_their_pixels_if_wished(overlap: str, count: int) -> None:
    plane = np.zeros((8, 9), np.uint16)
    plane[2, 3] = 4
    before = plane.copy()
    rows, columns = add_mask(plane, Mask.from_array(np.ones((2, 3), bool), offset=(2, 3)), overlap)  # type: ignore[arg-type]
    assert len(rows) == len(columns) == count
    assert ((2, 3) in set(zip(rows.tolist(), columns.tolist(), strict=True))) == (overlap == "overwrite")
    assert np.array_equal(plane, before)

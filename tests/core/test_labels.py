from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_foundseg.core.labels import Overlap, add_mask, label_dtype


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


@pytest.mark.parametrize(("overlap", "count"), [("keep others", 5), ("overwrite", 6), ("fill free only", 5)])
def test_other_objects_keep_their_pixels_if_wished(overlap: Overlap, count: int) -> None:
    plane = np.zeros((2, 3), np.uint16)
    plane[0, 1] = 4
    assert add_mask(plane, np.ones((2, 3), bool), 9, overlap)
    assert (plane == 9).sum() == count
    assert (plane[0, 1] == 4) == (overlap != "overwrite")


def test_a_mask_without_a_free_pixel_is_told() -> None:
    plane = np.full((2, 2), 3, np.uint16)
    assert not add_mask(plane, np.ones((2, 2), bool), 9, "keep others")
    assert (plane == 3).all()

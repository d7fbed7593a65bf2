from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_foundseg.core import arrays
from napari_foundseg.core.arrays import Blocks, in_memory


def test_a_scheduler_that_somebody_else_chose_is_not_asked() -> None:
    def foreign(*_args: Any, **_kwargs: Any) -> None:
        raise AssertionError("computed elsewhere")

    lazy = da.arange(12, chunks=5).reshape(3, 4)
    with dask.config.set(scheduler=foreign):
        np.testing.assert_array_equal(in_memory(lazy), np.arange(12).reshape(3, 4))
    assert in_memory(own := np.zeros(3)) is own


@given(data=st.data())
def test_a_part_is_that_of_the_array_whatever_the_blocks(data: st.DataObject) -> None:
    array = np.arange(3 * 7 * 9 * 2).reshape(3, 7, 9, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_SIDE", data.draw(st.integers(1, 9)))
        patch.setattr(arrays, "_KEPT", data.draw(st.sampled_from([0, 100, 1 << 20])))
        blocks = Blocks(array, (1, 2), 3)
        for _ in range(3):
            low = [data.draw(st.integers(0, n - 1)) for n in array.shape]
            box = tuple(slice(a, data.draw(st.integers(a + 1, n))) for a, n in zip(low, array.shape, strict=True))
            np.testing.assert_array_equal(blocks[box], array[box])

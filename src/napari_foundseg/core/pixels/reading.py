"""Read a slice of an array with named axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.errors import AxesError

__all__ = ["read_slice"]


def read_slice(
    array: Any,
    axes: str,
    index: tuple[int, ...],
    box: tuple[int, int, int, int] | None,
    channels: tuple[int, ...],
) -> NDArray[Any]:
    """Return a slice, or a box in it: (M, N), or (M, N, C) with several channels.

    Raises
    ------
    AxesError
        If the index does not have one number for each axis other than Y, X and C.
    """
    along = "".join(axis for axis in axes if axis not in "YXC")
    if len(index) != len(along):
        raise AxesError(f"A slice of axes {axes!r} has {len(along)} indices, got {index}.")
    position: dict[str, Any] = dict(zip(along, index, strict=True))
    if box is not None:
        position |= {"Y": slice(box[0], box[2] + 1), "X": slice(box[1], box[3] + 1)}
    if len(channels) == 1:
        position["C"] = channels[0]
    elif channels:
        position["C"] = slice(min(channels), max(channels) + 1)
    part = in_memory(array[tuple(position.get(axis, slice(None)) for axis in axes)])
    kept = [axis for axis in axes if not isinstance(position.get(axis), int | np.integer)]
    part = part.transpose([kept.index(axis) for axis in ("Y", "X", "C") if axis in kept])
    return part[..., [c - min(channels) for c in channels]] if len(channels) > 1 else part

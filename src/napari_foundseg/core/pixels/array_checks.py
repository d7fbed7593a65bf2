"""Checks that an array can be an image, and that a list of arrays is a pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.arrays import is_next_level
from napari_foundseg.core.errors import BadImageError, DTypeError

__all__ = ["as_array", "check_dtype", "check_levels", "is_pyramid"]


def is_pyramid(levels: Sequence[Any]) -> bool:
    """Tell a list of shrinking arrays from a nested list of numbers or a list of equal planes."""
    shapes: list[Any] = [getattr(level, "shape", None) for level in levels]
    if not shapes or any(shape is None or len(shape) < 2 for shape in shapes):
        return False
    sizes = [int(np.prod(shape)) for shape in shapes if shape is not None]
    return all(a > b for a, b in pairwise(sizes))


def check_levels(levels: Sequence[Any], axes: str, source: str | None) -> None:
    """Raise `BadImageError` if a list of images is not a pyramid."""
    sides = [(int(level.shape[axes.index("Y")]), int(level.shape[axes.index("X")])) for level in levels]
    if not all(is_next_level(before, after) for before, after in pairwise(sides)):
        raise BadImageError(
            source,
            f"a list of images of {', '.join(f'{y} by {x}' for y, x in sides)} pixels is not a pyramid, whose rows and "
            "columns shrink by one factor (2, 3, 4 …) from level to level; give the images one by one, or stack equal "
            "ones with numpy.stack",
        )


def as_array(data: Any) -> NDArray[Any]:
    """Return nested lists as an array; raise `BadImageError` if they are ragged."""
    try:
        return np.asarray(data)
    except ValueError as error:
        raise BadImageError(None, f"the data cannot be made an array: {error}") from error


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Raise `DTypeError` if pixels of a dtype have no grey values."""
    if dtype.kind not in "buif":
        raise DTypeError(
            f"Pixels of type {dtype} have no grey values; bool, integers and floats do. "
            + ("Take np.abs or np.real of the array first." if dtype.kind == "c" else "Convert the array first.")
        )

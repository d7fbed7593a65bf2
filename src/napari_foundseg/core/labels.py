"""Edits of label images: ids that never wrap and writes that respect what is there."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Overlap", "add_mask", "label_dtype", "plane_view"]

#: Who has a pixel that both an object and a mask want.
Overlap = Literal["keep others", "overwrite", "fill free only"]


def label_dtype(largest: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the narrowest dtype for ids, uint16 or wider.

    Parameters
    ----------
    largest : int
        The largest id.

    Returns
    -------
    dtype
        uint16, uint32 or uint64.
    """
    return np.promote_types(np.uint16, np.min_scalar_type(largest))


def plane_view(labels: NDArray[Any], axes: str, index: tuple[int, ...]) -> NDArray[Any]:
    """Return one slice of a label image as a writable (rows, columns) view.

    Parameters
    ----------
    labels : ndarray
        The label image.
    axes : str
        A letter for each of its axes, such as ``"ZYX"``.
    index : tuple of int
        The slice, one number for each axis but Y and X, in the array's order.

    Returns
    -------
    (M, N) ndarray
        A view, not a copy.
    """
    position = dict(zip(axes.replace("Y", "").replace("X", ""), index, strict=True))
    view = labels[tuple(position.get(axis, slice(None)) for axis in axes)]
    return view if axes.index("Y") < axes.index("X") else view.T


def add_mask(plane: NDArray[Any], crop: NDArray[np.bool_], label: int, overlap: Overlap) -> bool:
    """Write a mask into a label image.

    Parameters
    ----------
    plane : (M, N) ndarray of int
        The part of the label image that the mask's box covers; written in place.
    crop : (M, N) ndarray of bool
        The mask.
    label : int
        What to write.
    overlap : {'keep others', 'overwrite', 'fill free only'}
        Whether pixels of other objects stay theirs: not if it is ``overwrite``.

    Returns
    -------
    bool
        Whether the mask got a pixel.
    """
    free = crop if overlap == "overwrite" else crop & (plane == 0)
    plane[free] = label
    return bool(free.any())

"""Label images: dtypes that hold all ids, sizes of objects, and writing that respects existing objects."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Overlap", "add_mask", "common_dtype", "label_dtype", "label_sizes", "plane_view"]

#: Whether an object or a new mask gets a pixel that both cover.
Overlap = Literal["keep others", "overwrite", "fill free only"]
#: Pixels to count at once, so that other threads can run in between.
_CHUNK = 1 << 20
#: Largest id for which ids are counted in an array of all ids.
_DENSE = 1 << 20


def label_dtype(largest: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the narrowest unsigned dtype that holds ids up to `largest`, at least uint16."""
    return np.promote_types(np.uint16, np.min_scalar_type(largest))


def common_dtype(*dtypes: Any) -> np.dtype[np.integer[Any]]:
    """Return an integer dtype for ids of several dtypes. NumPy alone makes ``int64`` and ``uint64`` a float.

    Parameters
    ----------
    *dtypes : dtype or array
        As `numpy.result_type` takes them.
    """
    found = np.result_type(*dtypes)
    return found if found.kind in "biu" else np.dtype(np.int64)


def label_sizes(labels: NDArray[Any]) -> dict[int, int]:
    """Count the pixels of every id.

    Returns
    -------
    dict of int to int
        Pixels by id, for all ids in use, background included.
    """
    sizes: dict[int, int] = {}
    flat = labels.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        if part.min() >= 0 and part.max() <= _DENSE:
            counted = np.bincount(part.astype(np.int64, copy=False))
            ids = np.flatnonzero(counted)
            counts = counted[ids]
        else:
            ids, counts = np.unique(part, return_counts=True)
        for label, n in zip(ids.tolist(), counts.tolist(), strict=True):
            sizes[label] = sizes.get(label, 0) + n
    return sizes


def plane_view(labels: NDArray[Any], axes: str, index: tuple[int, ...]) -> NDArray[Any]:
    """Return one slice of a label image as a writable (rows, columns) view.

    Parameters
    ----------
    labels : ndarray
        The label image.
    axes : str
        A letter for each of its axes, such as ``"ZYX"``.
    index : tuple of int
        The slice: one number for each axis except Y and X, in the array's order.

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
    overlap : {'keep others', 'overwrite', 'fill free only'}
        ``overwrite`` also takes pixels of other objects; the other two write free pixels only.

    Returns
    -------
    bool
        Whether any pixel was written.
    """
    free = crop if overlap == "overwrite" else crop & (plane == 0)
    plane[free] = label
    return bool(free.any())

"""Connected components of all classes of a label image at once, by runs.

A run is a stretch of equal pixels in a row. Touching runs of neighbouring rows that have the same class are joined in a
graph, whose components are the objects (two-pass run labelling, Rosenfeld and Pfaltz, *J. ACM* 13, 1966). The time
depends on the number of runs, not on pixels and classes. Small components are dropped before any pixel is written.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.labels import label_dtype

__all__ = ["Components", "components"]


class Components(NamedTuple):
    """The result of `components`."""

    labels: NDArray[np.unsignedinteger[Any]]
    """Ids 1 to n without a gap, (M, N), uint16 or wider."""
    semantic: NDArray[np.unsignedinteger[Any]]
    """The classes without components that are too small, (M, N)."""
    classes: NDArray[np.int64]
    """The class of each object, (n,)."""
    areas: NDArray[np.int64]
    """Number of pixels of each object, (n,)."""
    boxes: NDArray[np.int64]
    """(y0, x0, y1, x1) of each object, both ends included, (n, 4)."""


def components(semantic: NDArray[Any], *, min_area: int = 0, without: tuple[int, ...] = ()) -> Components:
    """Split each class of a slice into connected components; corners connect.

    Parameters
    ----------
    semantic : (M, N) ndarray of unsigned int
        Class of each pixel, 0 for none.
    min_area : int
        Components with fewer pixels are dropped.
    without : tuple of int
        Classes that get no objects (stuff). Their small components are dropped too.

    Returns
    -------
    Components
        Labels, classes and the class of each object.
    """
    height, width = semantic.shape
    starts, ends, values = _runs(semantic)
    component = _joined(starts, ends, values, width + 1)
    number = int(component.max(initial=-1)) + 1
    areas = np.bincount(component, ends - starts, minlength=number).astype(np.int64)
    large = areas >= max(1, min_area)
    class_of = np.zeros(number, np.int64)
    class_of[component] = values
    chosen = large & ~np.isin(class_of, without)
    ids = np.where(chosen, np.cumsum(chosen), 0).astype(label_dtype(int(chosen.sum())))
    labels = _painted(starts, ends, ids[component], (height, width))
    kept = semantic
    if not large.all():
        kept = _painted(starts, ends, np.where(large[component], values, 0).astype(values.dtype), (height, width))
    boxes = _boxes(starts, ends, component, number, width + 1)[chosen]
    return Components(labels, kept, class_of[chosen], areas[chosen], boxes)


def _boxes(
    starts: NDArray[np.int64], ends: NDArray[np.int64], component: NDArray[np.int64], number: int, width: int
) -> NDArray[np.int64]:
    rows, first = np.divmod(starts, width)
    last = first + (ends - starts) - 1
    boxes = np.tile(np.array([rows.max(initial=0), width, -1, -1], np.int64), (number, 1))
    for column, values, reduce in (
        (0, rows, np.minimum),
        (1, first, np.minimum),
        (2, rows, np.maximum),
        (3, last, np.maximum),
    ):
        target = np.ascontiguousarray(boxes[:, column])
        reduce.at(target, component, values)
        boxes[:, column] = target
    return boxes


def _runs(semantic: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Return first pixel, end (exclusive) and class of each run, counted in rows that are one pixel longer."""
    height, width = semantic.shape
    # A column of zeros ends every row.
    flat = np.zeros((height, width + 1), semantic.dtype)
    flat[:, :width] = semantic
    flat = flat.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], changes])
    values = flat[starts]
    kept = values > 0
    return starts[kept], np.concatenate([changes, [flat.size]])[kept], values[kept]


def _joined(starts: NDArray[np.int64], ends: NDArray[np.int64], values: NDArray[Any], width: int) -> NDArray[np.int64]:
    """Return the component of each run, 0 to n - 1 in the order of their first runs."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(starts)
    # The touching runs of the next row: from the first that ends at the pixel before the start or later, to the last
    # that begins at the pixel after the end.
    first = np.searchsorted(ends, starts + width, side="left")
    counts = np.maximum(np.searchsorted(starts, ends + width, side="right") - first, 0)
    upper = np.repeat(np.arange(n), counts)
    lower = np.arange(len(upper)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    same = (values[upper] == values[lower]) & (starts[lower] // width == starts[upper] // width + 1)
    edges = (upper[same], lower[same])
    graph = coo_matrix((np.ones(len(edges[0]), np.uint8), edges), shape=(n, n))
    _, found = connected_components(graph, directed=False)
    _, firsts, inverse = np.unique(found, return_index=True, return_inverse=True) if n else (None, found, found)
    order = np.empty(len(firsts), np.int64)
    order[np.argsort(firsts)] = np.arange(len(firsts))
    return order[inverse]


def _painted(
    starts: NDArray[np.int64], ends: NDArray[np.int64], values: NDArray[Any], shape: tuple[int, int]
) -> NDArray[Any]:
    height, width = shape
    n = len(starts)
    bounds = np.empty(2 * n + 2, np.int64)
    bounds[0], bounds[1:-1:2], bounds[2:-1:2], bounds[-1] = 0, starts, ends, height * (width + 1)
    filled = np.zeros(2 * n + 1, values.dtype)
    filled[1::2] = values
    return np.repeat(filled, np.diff(bounds)).reshape(height, width + 1)[:, :width]

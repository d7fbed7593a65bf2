"""Instances from flows: pixels follow the flows to the centre of their object, and pixels that meet are one object.

This reimplements the method of Cellpose (Stringer et al., Nature Methods 18, 100-106, 2021) on the CPU in float32, so
the same maps give the same objects on any computer. Two rules of cellpose 4.2 differ: here, objects of more than 0.4 of
the image are kept, and the largest piece of an object in several pieces is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.flows.flow_fields import flow_errors
from napari_foundseg.core.labels import label_dtype

__all__ = ["flow_instances"]

#: Factor by which networks like Cellpose multiply the flows that they learn.
_LEARNT = 5.0
#: Number of steps for objects of up to 30 pixels in diameter.
_STEPS = 200
#: Cells around the picture in the histogram of where pixels end.
_MARGIN = 20
#: More pixels than these must end in the middle cell of an object, and in each cell that is added to it.
_CENTRE = 10
_ADDED = 2
#: Largest distance, in cells, between the middle of an object and the cells that are added to it.
_REACH = 5


def flow_instances(
    maps: NDArray[Any],
    *,
    probability_threshold: float = 0.0,
    flow_threshold: float = 0.4,
    min_area: int = 15,
    scale: float = 1.0,
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.float64]]:
    """Make a label image from flows and probabilities.

    Parameters
    ----------
    maps : (3, M, N) ndarray of float
        Flows along rows and columns, five times as long as steps, and the logit of the probability of an object.
    probability_threshold : float
        Logit above which a pixel belongs to an object.
    flow_threshold : float
        Largest flow error of an object to keep (see `flow_fields.flow_errors`); 0 keeps all.
    min_area : int
        Objects with fewer pixels are dropped.
    scale : float
        Factor by which the picture was resized for the network. At a smaller scale objects were larger, so pixels take
        more steps.

    Returns
    -------
    labels : (M, N) ndarray of uint16 or wider
        Ids 1 to n without a gap; each object is one piece without holes.
    errors : (n,) ndarray of float
        Error of the flows of each object.
    """
    from scipy import ndimage

    inside = maps[2] > probability_threshold
    where = np.nonzero(inside)
    labels = np.zeros(inside.shape, np.int64)
    if not len(where[0]):
        return labels.astype(np.uint16), np.empty(0)
    flows = maps[:2].astype(np.float32) / np.float32(_LEARNT) * inside
    depth = float(ndimage.distance_transform_edt(np.pad(inside, 1)).max())
    steps = max(int(_STEPS / scale), int(np.ceil(2 * depth)))
    ends = _followed(flows, where, steps)
    labels[where] = _met(ends, inside.shape)
    labels = _whole(labels, min_area)
    errors = flow_errors(labels, flows)
    if flow_threshold > 0:
        kept = errors <= flow_threshold
        labels = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)])[labels]
        errors = errors[kept]
    return labels.astype(label_dtype(len(errors))), errors


def _followed(flows: NDArray[np.float32], where: tuple[NDArray[Any], ...], steps: int) -> NDArray[np.int64]:
    """Return the cells (2, K) in which pixels end.

    Flows between pixels are interpolated as in cellpose: positions are shares of the distance between the first and the
    last pixel's centre, but flows are looked up as if they were shares of the whole side.
    """
    padded = np.pad(flows, ((0, 0), (1, 1), (1, 1)))
    width = padded.shape[2]
    flat = padded.reshape(2, -1)
    last = [np.float32(n - 1) for n in flows.shape[1:]]
    stretch = [np.float32(n / max(n - 1, 1)) for n in flows.shape[1:]]
    at = [axis.astype(np.float32) for axis in where]
    for _ in range(steps):
        low, share = [], []
        for axis in (0, 1):
            looked_up = at[axis] * stretch[axis] + np.float32(0.5)  # the margin is counted
            first = np.floor(looked_up)
            low.append(first.astype(np.int64))
            share.append(looked_up - first)
        corner = low[0] * width + low[1]
        for axis in (0, 1):
            values = flat[axis]
            above = values[corner] * (1 - share[1]) + values[corner + 1] * share[1]
            below = values[corner + width] * (1 - share[1]) + values[corner + width + 1] * share[1]
            at[axis] = np.clip(at[axis] + above * (1 - share[0]) + below * share[0], np.float32(0), last[axis])
    return np.stack(at).astype(np.int64)


def _met(ends: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return a number for each pixel, equal for those that end in the same place; 0 where too few pixels meet."""
    from scipy import ndimage

    rows, columns = (n + 2 * _MARGIN for n in shape)
    cells = (ends[0] + _MARGIN) * columns + ends[1] + _MARGIN
    ending = np.bincount(cells, minlength=rows * columns).reshape(rows, columns)
    middle = (ending == ndimage.maximum_filter(ending, 5)) & (ending > _CENTRE)
    places = np.argwhere(middle)
    # Sort by count, so that of two that reach the same cell, the one in which more pixels end gets it.
    places = places[np.argsort(ending[middle], kind="stable")]
    offsets = np.arange(-_REACH, _REACH + 1)
    y = places[:, 0, None, None] + offsets[:, None]
    x = places[:, 1, None, None] + offsets
    open_cells = ending[y, x] > _ADDED
    reached = np.zeros(open_cells.shape, bool)
    reached[:, _REACH, _REACH] = True
    for _ in range(_REACH):
        reached = ndimage.maximum_filter(reached, (1, 3, 3)) & open_cells
    numbers = np.zeros(rows * columns, np.int64)
    of_place, cell_y, cell_x = np.nonzero(reached)
    numbers[(places[of_place, 0] + cell_y - _REACH) * columns + places[of_place, 1] + cell_x - _REACH] = of_place + 1
    found: NDArray[np.int64] = numbers[cells]
    return found


def _whole(labels: NDArray[np.int64], min_area: int) -> NDArray[np.int64]:
    """Return objects as one piece each, without holes, numbered 1 to n. Small ones are dropped."""
    from scipy import ndimage

    found = np.zeros_like(labels)
    count = 0
    for i, part in enumerate(ndimage.find_objects(labels), 1):
        if part is None:
            continue
        pieces, number = ndimage.label(labels[part] == i, np.ones((3, 3)))
        own = pieces == 1 if number == 1 else pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
        own = ndimage.binary_fill_holes(own)
        if own.sum() >= max(1, min_area):
            count += 1
            target = found[part]
            target[own & (target == 0)] = count
    return found

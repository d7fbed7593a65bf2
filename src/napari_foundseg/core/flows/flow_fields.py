"""Flows of objects, as networks like Cellpose learn them, and the difference between flows and those of objects.

Stringer et al., Nature Methods 18, 100-106, 2021: heat spreads from the centre of each object. The flow is its
gradient, scaled to length 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["flow_errors", "flows_of_labels"]

#: Steps (rows, columns) to a pixel's eight neighbours.
_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def flows_of_labels(labels: NDArray[Any]) -> NDArray[np.float32]:
    """Return the flows of objects.

    Parameters
    ----------
    labels : (M, N) ndarray of int
        Ids from 1, without a gap.

    Returns
    -------
    (2, M, N) ndarray of float32
        Steps along rows and columns, of length 1 inside objects and 0 elsewhere.
    """
    from scipy import ndimage
    from scipy.sparse import csr_array

    flows = np.zeros((2, *labels.shape), np.float32)
    y, x = np.nonzero(labels)
    if not len(y):
        return flows
    padded = np.pad(labels, 1).astype(np.int64)
    number = np.full(padded.shape, -1, np.int64)
    number[y + 1, x + 1] = np.arange(len(y))
    own = padded[y + 1, x + 1]
    rows, columns = [np.arange(len(y))], [np.arange(len(y))]
    for down, right in _STEPS:
        same = np.flatnonzero(padded[y + 1 + down, x + 1 + right] == own)
        rows.append(same)
        columns.append(number[y[same] + 1 + down, x[same] + 1 + right])
    row, column = np.concatenate(rows), np.concatenate(columns)
    spread = csr_array((np.full(len(row), 1 / 9), (row, column)), shape=(len(y), len(y)))
    parts = ndimage.find_objects(labels)
    source = np.zeros(len(y))
    source[[number[c[0] + 1, c[1] + 1] for c in _centres(labels, parts)]] = 1
    largest = max(part[0].stop - part[0].start + part[1].stop - part[1].start for part in parts if part is not None)
    heat = np.zeros(len(y))
    for _ in range(2 * (largest + 2)):
        heat = spread @ (heat + source)
    image = np.zeros(padded.shape)
    image[y + 1, x + 1] = heat
    gradient = np.stack([image[y + 2, x + 1] - image[y, x + 1], image[y + 1, x + 2] - image[y + 1, x]])
    flows[:, y, x] = gradient / (1e-60 + np.sqrt((gradient**2).sum(axis=0)))
    return flows


def _centres(labels: NDArray[Any], parts: list[Any]) -> list[tuple[int, int]]:
    """Return the pixel of each object that is nearest to its centre of mass."""
    found = []
    for i, part in enumerate(parts, 1):
        if part is None:
            continue
        y, x = np.nonzero(labels[part] == i)
        nearest = int(((y - np.round(y.mean())) ** 2 + (x - np.round(x.mean())) ** 2).argmin())
        found.append((int(y[nearest]) + part[0].start, int(x[nearest]) + part[1].start))
    return found


def flow_errors(labels: NDArray[Any], flows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the difference between flows and the flows that follow from objects.

    Parameters
    ----------
    labels : (M, N) ndarray of int
        Ids 1 to n.
    flows : (2, M, N) ndarray of float
        Flows, of length 1 inside objects.

    Returns
    -------
    (n,) ndarray of float
        Mean squared difference over the pixels of each object.
    """
    from scipy import ndimage

    ids = np.arange(1, int(labels.max(initial=0)) + 1)
    error = ((flows_of_labels(labels) - flows) ** 2).sum(axis=0)
    return np.asarray(ndimage.mean(error, labels, ids), float).reshape(len(ids))

"""Objects of neighbouring slices become one where they overlap."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.labels import label_dtype

__all__ = ["link_objects", "linked"]


def link_objects(
    labels: NDArray[Any],
    axes: str,
    along: str,
    classes: NDArray[np.int64],
    scores: NDArray[np.float64],
    *,
    containment: float = np.inf,
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.int64], NDArray[np.float64]]:
    """Link the objects of all slices along some axes, one axis after the other, with `linked`.

    Parameters
    ----------
    labels : ndarray of unsigned int
        Ids 1 to n, each in one slice.
    axes : str
        A letter for each of its axes.
    along : str
        The axes along which objects go on.
    classes : (n,) ndarray of int
        The class of each object.
    scores : (..., n) ndarray of float
        Scores of each object.
    containment : float
        As `linked` takes it.

    Returns
    -------
    labels : ndarray of unsigned int
        Ids 1 to m.
    classes : (m,) ndarray of int
        The class of each object.
    scores : (..., m) ndarray of float
        The mean over the slices of each object.
    """
    for axis in along:
        labels, parts = linked(labels, classes, axis=axes.index(axis), containment=containment)
        count = int(parts.max(initial=0))
        class_of = np.zeros(count, np.int64)
        class_of[parts - 1] = classes
        classes = class_of
        sums = [np.bincount(parts - 1, row, minlength=count) for row in np.atleast_2d(scores)]
        scores = np.reshape(sums, (*scores.shape[:-1], count)) / np.bincount(parts - 1, minlength=count)
    return labels, classes, scores


def linked(
    labels: NDArray[Any],
    classes: NDArray[np.int64],
    *,
    axis: int = 0,
    agreement: float = 0.25,
    containment: float = np.inf,
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.int64]]:
    """Give objects of neighbouring slices one id where each is the other's best partner.

    Parameters
    ----------
    labels : ndarray of unsigned int
        Ids 1 to n, each in one slice.
    classes : (n,) ndarray of int
        The class of each object; only objects of one class are linked.
    axis : int
        The axis of the slices.
    agreement : float
        Partners have at least this IoU,
    containment : float
        or at least this share of the smaller one lies on the larger one: the section at the pole of a ball is small.

    Returns
    -------
    labels : ndarray of unsigned int
        Ids 1 to m without a gap, in the order in which the objects begin.
    """
    n = len(classes)
    root = np.arange(n + 1)
    planes = np.moveaxis(labels, axis, 0)
    for upper, lower in pairwise(planes):
        for a, b in _partners(upper, lower, classes, agreement, containment):
            root[b] = root[a]
    present = np.unique(root[1:])
    ids = np.zeros(n + 1, np.int64)
    ids[present] = np.arange(1, len(present) + 1)
    parts = ids[root]
    parts[0] = 0
    return parts[labels].astype(label_dtype(len(present))), parts[1:]


def _partners(
    upper: NDArray[Any], lower: NDArray[Any], classes: NDArray[np.int64], agreement: float, containment: float
) -> list[tuple[int, int]]:
    wide = len(classes) + 1
    pairs, counts = np.unique(upper.astype(np.int64) * wide + lower, return_counts=True)
    a, b = np.divmod(pairs, wide)
    areas_a = np.bincount(a, counts, minlength=wide)
    areas_b = np.bincount(b, counts, minlength=wide)
    iou = counts / (areas_a[a] + areas_b[b] - counts)
    inside = counts / np.minimum(areas_a[a], areas_b[b])
    kept = (a > 0) & (b > 0) & ((iou >= agreement) | (inside >= containment))
    a = a[kept]
    b = b[kept]
    iou = iou[kept]
    kept = classes[a - 1] == classes[b - 1]
    a = a[kept]
    b = b[kept]
    iou = iou[kept]
    best_a = np.zeros(wide)
    best_b = np.zeros(wide)
    np.maximum.at(best_a, a, iou)
    np.maximum.at(best_b, b, iou)
    mutual = (iou == best_a[a]) & (iou == best_b[b])
    return [(int(p), int(q)) for p, q in zip(a[mutual], b[mutual], strict=True)]

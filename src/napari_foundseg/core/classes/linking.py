"""Link objects in neighbouring slices of a stack that overlap.

The rule ``all slices`` is that of `core.volumes.overlap_linking`. The rule ``best match`` is that of earlier versions.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.labels import label_dtype
from napari_foundseg.core.volumes.overlap_linking import link_planes, linked_planes

__all__ = ["LinkRule", "link_objects", "linked"]

#: The rule by which overlapping sections are linked.
LinkRule = Literal["all slices", "best match"]


def link_objects(
    labels: NDArray[Any],
    axes: str,
    along: str,
    classes: NDArray[np.int64],
    scores: NDArray[np.float64],
    *,
    rule: LinkRule = "all slices",
    containment: float = np.inf,
    distance: float = 1.0,
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.int64], NDArray[np.float64]]:
    """Link the objects of all slices along some axes, one axis after the other.

    Parameters
    ----------
    labels : ndarray of unsigned int
        Ids 1 to n, each in one slice.
    axes : str
        A letter for each of its axes.
    along : str
        The axes along which to link objects.
    classes : (n,) ndarray of int
        The class of each object.
    scores : (..., n) ndarray of float
        Scores of each object.
    rule : {'all slices', 'best match'}
        The linking rule.
    containment : float
        As for `linked`; used by ``best match``.
    distance : float
        Distance of neighbouring slices in pixels; used by ``all slices``.

    Returns
    -------
    labels : ndarray of unsigned int
        Ids 1 to m.
    classes : (m,) ndarray of int
        The class of each object.
    scores : (..., m) ndarray of float
        The mean score over the slices of each object.
    """
    for axis in along:
        at = axes.index(axis)
        if rule == "best match":
            labels, parts = linked(labels, classes, axis=at, containment=containment)
        else:
            labels, parts = _linked_in_all(labels, classes, at, distance, bodies=axis != "T")
        count = int(parts.max(initial=0))
        class_of = np.zeros(count, np.int64)
        class_of[parts - 1] = classes
        classes = class_of
        sums = [np.bincount(parts - 1, row, minlength=count) for row in np.atleast_2d(scores)]
        scores = np.reshape(sums, (*scores.shape[:-1], count)) / np.bincount(parts - 1, minlength=count)
    return labels, classes, scores


def _linked_in_all(
    labels: NDArray[Any], classes: NDArray[np.int64], axis: int, distance: float, *, bodies: bool
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.int64]]:
    """Return the linked labels, and the new object of each former label."""
    planes = np.moveaxis(labels, axis, 0)
    # In the order in which sections are numbered. An object that was already linked along another axis has one
    # section in each of its slices.
    ids = np.concatenate([np.empty(0, np.int64), *(part[part > 0] for part in map(np.unique, planes))]).astype(np.int64)
    links = link_planes(planes, classes[ids - 1], distance=distance, bodies=bodies)
    dtype = label_dtype(links.count)
    out = np.zeros(planes.shape, dtype)
    for k, plane in enumerate(linked_planes(planes, links, dtype)):
        out[k] = plane
    parts = np.zeros(len(classes), np.int64)
    parts[ids - 1] = links.object_of
    return np.moveaxis(out, 0, axis), parts


def linked(
    labels: NDArray[Any],
    classes: NDArray[np.int64],
    *,
    axis: int = 0,
    agreement: float = 0.25,
    containment: float = np.inf,
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.int64]]:
    """Give objects of neighbouring slices the same id if each is the other's best partner.

    Parameters
    ----------
    labels : ndarray of unsigned int
        Ids 1 to n, each in one slice.
    classes : (n,) ndarray of int
        The class of each object; only objects of one class are linked.
    axis : int
        The axis of the slices.
    agreement : float
        Least IoU of partners.
    containment : float
        Objects with less IoU are partners too, if at least this share of the smaller one is on the larger one. The
        section at the pole of a ball is small.

    Returns
    -------
    labels : ndarray of unsigned int
        Ids 1 to m without a gap, in the order of the ids of the objects' first parts.
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

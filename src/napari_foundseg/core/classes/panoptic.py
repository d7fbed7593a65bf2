"""Panoptic results: every pixel has a class, and each pixel of a thing also has an object.

Contents: fusion of a semantic and an instance result (Kirillov et al., *Panoptic Feature Pyramid Networks*, CVPR 2019,
section 3), post-processing of centres and offsets (Cheng et al., *Panoptic-DeepLab*, CVPR 2020), panoptic ids, and
panoptic quality (Kirillov et al., *Panoptic Segmentation*, CVPR 2019).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import SettingsError
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.core.masks import Mask

__all__ = ["Panoptic", "PanopticQuality", "fused", "grouped", "panoptic_ids", "panoptic_quality"]


class Panoptic(NamedTuple):
    """A panoptic result of one slice."""

    labels: NDArray[np.unsignedinteger[Any]]
    """Objects 1 to n, (M, N), uint16 or wider; 0 for no object."""
    semantic: NDArray[np.unsignedinteger[Any]]
    """Class of each pixel, (M, N); 0 for none."""
    classes: NDArray[np.int64]
    """The class of each object, (n,)."""
    scores: NDArray[np.float64]
    """Score of each object, (n,), 0 to 1."""
    boxes: NDArray[np.int64] | None = None
    """(y0, x0, y1, x1) of each object, both ends included, (n, 4), if they were measured."""
    areas: NDArray[np.int64] | None = None
    """Number of pixels of each object, (n,), if it was counted."""


def fused(
    semantic: NDArray[Any],
    masks: Sequence[Mask],
    *,
    stuff: Collection[int],
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.5,
    stuff_area: int = 4096,
) -> Panoptic:
    """Fuse a semantic and an instance result by Kirillov's heuristic.

    Objects are processed by decreasing score. Each gets its pixels that are still free, unless too many are taken.
    The remaining pixels become stuff, as in the semantic result.

    Parameters
    ----------
    semantic : (M, N) ndarray of unsigned int
        Class of each pixel, in the numbers of the fused result.
    masks : sequence of Mask
        Objects with their class; a mask's score is its `predicted_iou`.
    stuff : collection of int
        The classes of stuff. Only these are used from `semantic`.
    score_threshold : float
        Objects with a lower score are dropped.
    overlap_threshold : float
        An object is dropped if a larger share of it is already taken.
    stuff_area : int
        Stuff with fewer free pixels is dropped.

    Returns
    -------
    Panoptic
        Labels are numbered by decreasing score.
    """
    ranked = sorted((m for m in masks if m.predicted_iou >= score_threshold), key=lambda m: -m.predicted_iou)
    labels = np.zeros(semantic.shape, label_dtype(len(ranked)))
    out = np.zeros(
        semantic.shape, np.promote_types(np.uint8, np.min_scalar_type(max([0, *stuff, *(m.class_id for m in ranked)])))
    )
    kept: list[Mask] = []
    for mask in ranked:
        if not mask.area:
            continue
        y0, x0, y1, x1 = mask.box
        taken = labels[y0 : y1 + 1, x0 : x1 + 1] > 0
        free = mask.crop & ~taken
        if np.count_nonzero(mask.crop & taken) / mask.area > overlap_threshold or not free.any():
            continue
        kept.append(mask)
        labels[y0 : y1 + 1, x0 : x1 + 1][free] = len(kept)
        out[y0 : y1 + 1, x0 : x1 + 1][free] = mask.class_id
    for number in stuff:
        free = (semantic == number) & (labels == 0)
        if np.count_nonzero(free) >= max(1, stuff_area):
            out[free] = number
    classes = np.array([m.class_id for m in kept], np.int64)
    return Panoptic(labels, out, classes, np.array([m.predicted_iou for m in kept], float))


def grouped(
    centres: NDArray[Any],
    offsets: NDArray[Any],
    semantic: NDArray[Any],
    *,
    things: Collection[int],
    centre_threshold: float = 0.1,
    nms_kernel: int = 7,
    top_k: int = 200,
    stuff_area: int = 2048,
) -> Panoptic:
    """Group pixels into objects by the centre that each points to (Panoptic-DeepLab's post-processing).

    Parameters
    ----------
    centres : (M, N) ndarray of float
        Heat map of the objects' centres, 0 to 1.
    offsets : (2, M, N) ndarray of float
        For each pixel, the offset to its object's centre in rows and columns.
    semantic : (M, N) ndarray of unsigned int
        Class of each pixel, 0 for none.
    nms_kernel : int
        Side in pixels (odd) of the square in which a centre must be the maximum.
    top_k : int
        Number of the highest centres to use. detectron2 uses those above the k-th, so one fewer if there are more
        than k.
    stuff_area : int
        Stuff with fewer pixels is dropped.

    Returns
    -------
    Panoptic
        An object's class is that of most of its pixels. Its score is the height of its centre. If there is no centre
        at all, pixels of things get no class.

    Raises
    ------
    SettingsError
        If `nms_kernel` is even.
    """
    if nms_kernel % 2 == 0:
        raise SettingsError(f"nms_kernel = {nms_kernel}: a square around a pixel has an odd side, such as 7.")
    of_things = np.isin(semantic, list(things))
    points, heights = _highest(centres, centre_threshold, nms_kernel, top_k)
    nearest = _nearest(points, offsets, of_things)
    votes = _votes(nearest, semantic, of_things, len(points))
    present = votes.any(axis=1)
    ids = np.concatenate([[0], np.where(present, np.cumsum(present), 0)])
    labels = ids[nearest].astype(label_dtype(int(present.sum())))
    classes = votes.argmax(axis=1)[present]
    out = np.where(labels > 0, np.concatenate([[0], classes])[labels], np.where(of_things, 0, semantic))
    areas = np.bincount(out[labels == 0], minlength=votes.shape[1])
    small = (areas > 0) & (areas < stuff_area)
    out[(labels == 0) & small[out]] = 0
    return Panoptic(labels, out.astype(semantic.dtype), classes, np.asarray(heights[present], float))


def _highest(
    centres: NDArray[Any], threshold: float, kernel: int, top_k: int
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the positions of the centres, the highest first, and their heights."""
    from scipy import ndimage

    around = ndimage.maximum_filter(centres, kernel, mode="constant", cval=-1)
    points = np.argwhere((centres == around) & (centres > threshold))
    heights = centres[tuple(points.T)]
    order = np.argsort(-heights, kind="stable")[:top_k]
    return points[order], heights[order]


def _nearest(points: NDArray[np.int64], offsets: NDArray[Any], of_things: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each pixel of things the number, from 1, of the centre nearest to where it points; 0 elsewhere."""
    from scipy.spatial import cKDTree

    nearest = np.zeros(of_things.shape, np.int64)
    if len(points):
        pointed = np.argwhere(of_things) + offsets[:, of_things].T
        nearest[of_things] = cKDTree(points).query(pointed)[1] + 1
    return nearest


def _votes(
    nearest: NDArray[np.int64], semantic: NDArray[Any], of_things: NDArray[np.bool_], count: int
) -> NDArray[np.int64]:
    """Count the pixels of each class (column) for each centre (row)."""
    number = int(semantic.max(initial=0)) + 1
    pairs = nearest[of_things] * number + semantic[of_things]
    return np.bincount(pairs, minlength=number * (count + 1)).reshape(-1, number)[1:]


def panoptic_ids(semantic: NDArray[Any], labels: NDArray[Any], *, divisor: int = 1000) -> NDArray[np.uint32]:
    """Return class and object of each pixel as one number, class × divisor + object.

    Parameters
    ----------
    semantic : ndarray of unsigned int
        Class of each pixel.
    labels : ndarray of unsigned int
        Object of each pixel, of the same shape; 0 for stuff.
    divisor : int
        A number above the count of objects of any class.

    Returns
    -------
    ndarray of uint32
        Numbers in the same shape. The objects of each class are counted from 1.

    Raises
    ------
    SettingsError
        If a class has too many objects for the divisor, or the numbers do not fit.
    """
    largest = int(labels.max(initial=0))
    class_of = np.zeros(largest + 1, np.int64)
    class_of[labels.ravel()] = semantic.ravel()
    present = np.unique(labels[labels > 0])
    within = np.zeros(largest + 1, np.int64)
    for number in np.unique(class_of[present]):
        own = present[class_of[present] == number]
        if len(own) >= divisor:
            raise SettingsError(
                f"Class {number} has {len(own)} objects, too many for a divisor of {divisor}: give a larger divisor."
            )
        within[own] = np.arange(1, len(own) + 1)
    if (int(semantic.max(initial=0)) + 1) * divisor > np.iinfo(np.uint32).max:
        raise SettingsError(
            f"A divisor of {divisor} gives numbers above {np.iinfo(np.uint32).max}: give a smaller one."
        )
    ids: NDArray[np.uint32] = (semantic.astype(np.uint32) * np.uint32(divisor)) + within[labels].astype(np.uint32)
    return ids


class PanopticQuality(NamedTuple):
    """Panoptic quality of each class and its two factors."""

    classes: tuple[int, ...]
    """The classes that occur in either result."""
    quality: NDArray[np.float64]
    """PQ of each: sum of the IoUs of matched segments over TP + FP / 2 + FN / 2."""
    segmentation: NDArray[np.float64]
    """Mean IoU of the matched segments (SQ)."""
    recognition: NDArray[np.float64]
    """F1 score of the segments (RQ)."""

    @property
    def mean(self) -> float:
        """Mean PQ of the classes; 1 if both results are empty."""
        return float(self.quality.mean()) if len(self.classes) else 1.0

    def of(self, number: int) -> float:
        """Return the panoptic quality of one class; 1 if neither result has it."""
        return float(self.quality[self.classes.index(number)]) if number in self.classes else 1.0


def panoptic_quality(
    predicted: tuple[NDArray[Any], NDArray[Any]], true: tuple[NDArray[Any], NDArray[Any]], *, things: Collection[int]
) -> PanopticQuality:
    """Compare a panoptic result with the truth.

    Segments match if their IoU is above 0.5. Pixels without a class in the truth are ignored: they do not count in
    unions, and a predicted segment with more than half of its pixels there is no false positive.

    Parameters
    ----------
    predicted, true : tuple of ndarray of unsigned int
        Semantic labels and objects, all of one shape.
    things : collection of int
        The classes with separate objects (things).
    """
    shapes = {array.shape for array in (*predicted, *true)}
    if len(shapes) != 1:
        raise ValueError(f"panoptic quality compares results of one shape, got {sorted(shapes)}")
    ours, our_ids, our_classes = _segments(*predicted, things)
    theirs, their_ids, their_classes = _segments(*true, things)
    size = len(our_ids) * len(their_ids)
    shared = np.bincount(ours * len(their_ids) + theirs, minlength=size).reshape(len(our_ids), len(their_ids))
    void = np.flatnonzero(their_classes == 0)
    in_void = shared[:, void].sum(axis=1)
    union = shared.sum(1)[:, None] - in_void[:, None] + shared.sum(0)[None] - shared
    same = (our_classes[:, None] == their_classes[None]) & (our_classes[:, None] > 0)
    iou = np.where(same, shared / np.maximum(union, 1), 0)
    rows, columns = np.nonzero(iou > 0.5)
    mostly_void = in_void > 0.5 * shared.sum(1)
    classes = np.unique(np.concatenate([our_classes, their_classes]))
    classes = classes[classes > 0]
    pq = []
    sq = []
    rq = []
    kept = []
    for number in classes:
        matched = our_classes[rows] == number
        tp = int(matched.sum())
        unmatched = (our_classes == number) & ~np.isin(np.arange(len(our_classes)), rows)
        fp = int((unmatched & ~mostly_void).sum())
        fn = int((their_classes == number).sum()) - tp
        if not tp + fp + fn:
            continue
        total = float(iou[rows[matched], columns[matched]].sum())
        kept.append(int(number))
        pq.append(total / (tp + fp / 2 + fn / 2))
        sq.append(total / tp if tp else 0.0)
        rq.append(tp / (tp + fp / 2 + fn / 2))
    return PanopticQuality(tuple(kept), np.array(pq), np.array(sq), np.array(rq))


def _segments(
    semantic: NDArray[Any], labels: NDArray[Any], things: Collection[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the segment of each pixel, the segments, and their classes."""
    number = int(labels.max(initial=0)) + 1
    flat = semantic.ravel().astype(np.int64)
    objects = np.where(np.isin(flat, list(things)), labels.ravel().astype(np.int64), 0)
    ids, inverse = np.unique(flat * number + objects, return_inverse=True)
    return inverse.astype(np.int64), ids, ids // number

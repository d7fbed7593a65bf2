"""Join the results of overlapping windows: seams are merged class by class and object by object.

Each pixel comes from the window whose centre is nearest. Objects of two windows are one object if they have the same
class and agree on the pixels that both windows cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.panoptic import Panoptic
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.core.masks import Box

__all__ = ["Window", "stitched"]


@dataclass(frozen=True, eq=False)
class Window:
    """The objects of one window.

    Parameters
    ----------
    box : tuple of int
        The window, (y0, x0, y1, x1), both included.
    core : tuple of int
        The part of the picture that this window's result fills; the cores tile the picture.
    found : Panoptic
        The result for the window's pixels.
    """

    box: Box
    core: Box
    found: Panoptic


def stitched(windows: Sequence[Window], shape: tuple[int, int], *, agreement: float = 0.5) -> Panoptic:
    """Join the results of windows.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the picture.
    agreement : float
        IoU, within the pixels that two windows share, above which two objects of one class are joined.

    Returns
    -------
    Panoptic
        An object's score is the mean of its parts' scores, weighted by their areas.
    """
    if len(windows) == 1:
        return windows[0].found
    first = np.cumsum([0, *(len(w.found.classes) for w in windows)])
    parts = int(first[-1])
    component = _components(parts, _agreeing(windows, first, agreement))
    dtype = label_dtype(parts)
    labels = np.zeros(shape, dtype)
    semantic = np.zeros(shape, np.result_type(*(w.found.semantic for w in windows)))
    for start, window in zip(first[:-1], windows, strict=True):
        y0, x0, y1, x1 = window.core
        inner = np.s_[y0 - window.box[0] : y1 - window.box[0] + 1, x0 - window.box[1] : x1 - window.box[1] + 1]
        n = len(window.found.classes)
        ids = np.concatenate([[0], component[start : start + n] + 1]).astype(dtype)
        labels[y0 : y1 + 1, x0 : x1 + 1] = ids[window.found.labels[inner]]
        semantic[y0 : y1 + 1, x0 : x1 + 1] = window.found.semantic[inner]
    classes = np.concatenate([w.found.classes for w in windows])
    scores = np.concatenate([w.found.scores for w in windows])
    areas = np.concatenate([_areas(w.found) for w in windows])
    return _numbered(labels, semantic, component, classes, scores, areas)


def _agreeing(windows: Sequence[Window], first: NDArray[np.int64], agreement: float) -> list[tuple[int, int]]:
    joined = []
    for i, a in enumerate(windows):
        for j in range(i + 1, len(windows)):
            b = windows[j]
            y0 = max(a.box[0], b.box[0])
            x0 = max(a.box[1], b.box[1])
            y1 = min(a.box[2], b.box[2])
            x1 = min(a.box[3], b.box[3])
            if y0 > y1 or x0 > x1:
                continue
            ours, theirs = (
                w.found.labels[y0 - w.box[0] : y1 - w.box[0] + 1, x0 - w.box[1] : x1 - w.box[1] + 1] for w in (a, b)
            )
            joined += [
                (int(first[i]) + p, int(first[j]) + q)
                for p, q in _same(ours, theirs, agreement)
                if a.found.classes[p] == b.found.classes[q]
            ]
    return joined


def _same(ours: NDArray[Any], theirs: NDArray[Any], agreement: float) -> list[tuple[int, int]]:
    """Return the pairs of objects, counted from 0, whose IoU is above `agreement`."""
    wide = int(theirs.max(initial=0)) + 1
    pairs, counts = np.unique(ours.astype(np.int64) * wide + theirs, return_counts=True)
    p, q = np.divmod(pairs, wide)
    area_p = np.bincount(p, counts)
    area_q = np.bincount(q, counts)
    iou = counts / (area_p[p] + area_q[q] - counts)
    good = (p > 0) & (q > 0) & (iou > agreement)
    return [(int(a) - 1, int(b) - 1) for a, b in zip(p[good], q[good], strict=True)]


def _components(count: int, joined: list[tuple[int, int]]) -> NDArray[np.int64]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a, b = np.array(joined, np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(a), np.uint8), (a, b)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _areas(found: Panoptic) -> NDArray[np.int64]:
    return np.bincount(found.labels.ravel(), minlength=len(found.classes) + 1)[1:]


def _numbered(
    labels: NDArray[Any],
    semantic: NDArray[Any],
    component: NDArray[np.int64],
    classes: NDArray[np.int64],
    scores: NDArray[np.float64],
    areas: NDArray[np.int64],
) -> Panoptic:
    """Renumber the objects that have pixels from 1 to n."""
    count = int(component.max(initial=-1)) + 1
    present = np.bincount(labels.ravel(), minlength=count + 1)[1:] > 0
    ids = np.concatenate([[0], np.where(present, np.cumsum(present), 0)])
    class_of = np.zeros(count, np.int64)
    class_of[component] = classes
    weight = np.maximum(np.bincount(component, areas, minlength=count), 1e-9)
    score = np.bincount(component, areas * scores, minlength=count) / weight
    return Panoptic(ids[labels].astype(label_dtype(int(present.sum()))), semantic, class_of[present], score[present])

"""Instances from the maps of an instance decoder: seeds and a watershed.

The layout is micro-sam's (Archit et al., Nature Methods 2025): foreground, distance to the centre and distance to the
boundary. Both distances are *small* deep inside an object and 1 at its border.

Models share the layout but not the quantities, so a threshold of one model means something else for another. Each row
of the catalogue therefore has its own thresholds (`models.row_defaults`). Let d be the distance of a pixel to the
boundary of its object. micro-sam's boundary distance is 1 - d / d_max, where d_max is the object's largest d: every
object reaches 0, and a threshold cuts all objects at the same share of their depth. foundseg-tiny's is 1.5 / (1.5 + d),
d in pixels: a threshold cuts all objects at the same depth, and a small object never comes near 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.labels import label_dtype

__all__ = ["instance_scores", "instances"]

_EIGHT = np.ones((3, 3), bool)
#: Shares of the centre threshold at which a seed may split into several.
_SHARES = (0.85, 0.7, 0.55, 0.4, 0.3)
#: Least pixels of a part that counts as a seed; smaller parts are noise.
_SMALLEST_SEED = 6
#: Two parts of a seed are two objects if the lowest pass between them is at least this much above the deepest place of
#: the shallower part (in boundary distance). Chosen on `val` and `train`.
_RIDGE = 0.04
#: Steps (rows, columns) to half of a pixel's eight neighbours.
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))


def instances(
    maps: NDArray[Any],
    *,
    foreground_threshold: float = 0.5,
    centre_threshold: float = 0.5,
    boundary_threshold: float = 0.5,
    seed_smoothing: float = 0.0,
    foreground_smoothing: float = 0.0,
    min_area: int = 0,
) -> NDArray[np.unsignedinteger[Any]]:
    """Make a label image from the decoder maps of one slice.

    Seeds are the connected parts where the foreground is above its threshold and both distances are below theirs. A
    seed that falls apart at a lower centre threshold becomes several seeds. A watershed on the boundary distance
    floods from the seeds through the foreground. Regions from parts of one seed are joined again if the ridge
    between them is low (the dynamics of a watershed's basin; Grimaud, SPIE 1769, 1992). If equal depth has an equal
    value in all objects, touching objects are recovered exactly.

    Parameters
    ----------
    maps : (3, M, N) ndarray of float
        Foreground probability, centre distance and boundary distance, 0 to 1.
    foreground_threshold : float
        Least foreground probability of an object's pixels.
    centre_threshold : float
        Largest centre distance of a seed's pixels.
    boundary_threshold : float
        Largest boundary distance of a seed's pixels.
    seed_smoothing : float
        Standard deviation, in pixels, of the smoothing of both distances before seeds are searched.
    foreground_smoothing : float
        Standard deviation, in pixels, of the smoothing of the foreground probability before its threshold.
    min_area : int
        Objects with fewer pixels are dropped.

    Returns
    -------
    (M, N) ndarray of uint16 or wider
        Ids 1 to n without a gap.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    foreground = _smoothed(maps[0], foreground_smoothing) > foreground_threshold
    if not foreground.any():
        # Blank pictures are frequent in a batch, and the rest takes long for a small one.
        return np.zeros(foreground.shape, label_dtype(0))
    centre, boundary = (_smoothed(part, seed_smoothing) for part in maps[1:])
    seeds = foreground & (centre < centre_threshold) & (boundary < boundary_threshold)
    whole = ndimage.label(seeds, _EIGHT)[0]
    markers = _parted(whole, centre, centre_threshold)
    origin = np.zeros(int(markers.max(initial=0)) + 1, np.int64)
    origin[markers] = whole
    height = maps[2].astype(np.float32, copy=False)
    # Flood to eight neighbours, so that the corner of an object is reached from its own inside before it is
    # reached from an equally shallow pixel of the neighbour.
    labels = watershed(height, markers, connectivity=_EIGHT, mask=foreground)
    labels = _joined(labels, origin, height)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    kept = areas >= max(1, min_area)
    ids = np.where(kept, np.cumsum(kept), 0).astype(label_dtype(int(kept.sum())))
    result: NDArray[np.unsignedinteger[Any]] = ids[labels]
    return result


def _parted(markers: NDArray[Any], centre: NDArray[Any], threshold: float) -> NDArray[Any]:
    """Split each seed that has two or more large parts at a lower threshold into these parts.

    Where nuclei touch, the decoder is less sure of the border than within a nucleus. A single threshold either joins
    such nuclei or loses shallow ones.
    """
    from scipy import ndimage

    for share in _SHARES:
        parts, count = ndimage.label((markers > 0) & (centre < share * threshold), _EIGHT)
        where = np.flatnonzero(parts)
        part = parts.ravel()[where]
        parent = np.zeros(count + 1, np.int64)
        parent[part] = markers.ravel()[where]
        large = np.bincount(part, minlength=count + 1) >= _SMALLEST_SEED
        highest = int(markers.max(initial=0))
        several = np.bincount(parent[large], minlength=highest + 1) >= 2
        several[0] = False
        own = np.where(large & several[parent], np.arange(count + 1) + highest, 0)
        markers = np.where(several[markers], own[parts], markers)
    return markers


def _joined(labels: NDArray[Any], origin: NDArray[Any], height: NDArray[Any]) -> NDArray[Any]:
    """Give labels of one seed the same number if the ridge of `height` between them is low.

    `origin` is the seed of each label.
    """
    from scipy import ndimage
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    several = np.bincount(origin)[origin] > 1
    several[0] = False
    labels_of_several = np.where(several[labels], labels, 0)
    pairs, passes = _passes(labels_of_several, origin, height)
    if not len(pairs):
        return labels
    deepest = np.asarray(ndimage.minimum(height, labels_of_several, pairs.ravel()), float).reshape(pairs.shape)
    alike = pairs[passes - deepest.max(axis=1) < _RIDGE]
    graph = coo_array((np.ones(len(alike)), alike.T), (len(origin), len(origin)))
    # Label 0 comes first and is joined with no other, so its group is 0.
    groups: NDArray[Any] = connected_components(graph, directed=False)[1].astype(labels.dtype)
    joined: NDArray[Any] = groups[labels]
    return joined


def _passes(
    labels: NDArray[Any], origin: NDArray[Any], height: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the pairs of touching labels of one origin, (P, 2), and the height of the lowest pass of each pair."""
    keys = [np.empty(0, np.int64)]
    heights = [np.empty(0)]
    rows, columns = labels.shape
    for down, right in _STEPS:
        one = (slice(0, rows - down), slice(max(0, -right), columns - max(0, right)))
        other = (slice(down, rows), slice(max(0, right), columns + min(0, right)))
        a = labels[one]
        b = labels[other]
        where = np.nonzero((a != b) & (a > 0) & (b > 0))
        low, high = np.sort([a[where], b[where]], axis=0).astype(np.int64)
        alike = origin[low] == origin[high]
        keys.append((low * len(origin) + high)[alike])
        heights.append(np.maximum(height[one][where], height[other][where])[alike])
    key, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    passes = np.full(len(key), np.inf)
    np.minimum.at(passes, inverse, np.concatenate(heights))
    return np.stack(np.divmod(key, len(origin)), axis=1), passes


def _smoothed(part: NDArray[Any], sigma: float) -> NDArray[Any]:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(part.astype(np.float32, copy=False), sigma)) if sigma else part


def instance_scores(
    maps: NDArray[Any], labels: NDArray[Any], calibration: Sequence[float] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score each object by the decoder's own certainty.

    Parameters
    ----------
    maps : (3, M, N) ndarray of float
        The maps from which `labels` were made.
    labels : (M, N) ndarray of int
        Ids 1 to n.
    calibration : sequence of float, optional
        (constant, weight of doubt, weight of shallowness), fitted on annotated images. Doubt is the mean of p (1 - p)
        over the object, where p is the foreground probability. Shallowness is the object's least centre distance.

    Returns
    -------
    predicted_iou : (n,) ndarray of float
        0 to 1: the expected IoU with the true object. Without a calibration it is the mean foreground probability,
        which is too high.
    stability_score : (n,) ndarray of float
        Share of the object's pixels whose foreground probability is above 0.75: the part that would remain at a
        higher threshold.
    """
    from scipy import ndimage

    ids = np.arange(1, int(labels.max(initial=0)) + 1)
    if not len(ids):
        return np.empty(0), np.empty(0)
    foreground = maps[0].astype(np.float32, copy=False)
    stability = np.asarray(ndimage.mean(foreground > 0.75, labels, ids), float)
    if calibration is None:
        return np.asarray(ndimage.mean(foreground, labels, ids), float), stability
    doubt = np.asarray(ndimage.mean(foreground * (1 - foreground), labels, ids), float)
    shallow = np.asarray(ndimage.minimum(maps[1].astype(np.float32, copy=False), labels, ids), float)
    constant, of_doubt, of_shallow = calibration
    return np.clip(constant + of_doubt * doubt + of_shallow * shallow, 0, 1), stability

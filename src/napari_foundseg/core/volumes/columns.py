"""Join parts of one body, such as a tube, that a 3-D watershed has separated at a waist along Z.

A waist along Z alone is not a border: each slice there shows one round section. Objects that are side by side have a
waist in the slices too.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["join_columns"]

#: Least depth of the border between two parts of one section, as a share of the shallower part's depth in the slice.
_ROUND = 0.85
#: Two parts are side by side if their middles are closer along Z than this share of the shorter part's length.
_BESIDE = 0.25
#: Least area between the two widest sections of a body, as a share of the smaller one.
_NECK = 0.25


def join_columns(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the joined object of each object of a volume.

    Parameters
    ----------
    labels : (Z, Y, X) ndarray of int32
        Ids 1 to n.

    Returns
    -------
    (n + 1,) ndarray of int
        For each id, the id of the first part of its joined object; 0 for background.
    """
    count = int(labels.max(initial=0))
    whole = np.arange(count + 1)
    if count < 2:
        return whole
    area = np.stack([np.bincount(plane.ravel(), minlength=count + 1) for plane in labels])
    weights, shares = _waists(labels, area)
    touching = _stacked(labels) | set(weights)
    for a, b in sorted(touching):
        round_enough = (a, b) not in weights or shares[a, b] >= _ROUND * weights[a, b]
        if round_enough and _has_no_neck(area[:, a], area[:, b]):
            one, other = sorted((int(whole[a]), int(whole[b])))
            whole[whole == other] = one
    return whole


def _stacked(labels: NDArray[np.int32]) -> set[tuple[int, int]]:
    """Return the pairs of objects that touch across neighbouring slices."""
    pairs: set[tuple[int, int]] = set()
    for one, other in pairwise(labels):
        both = (one != other) & (one > 0) & (other > 0)
        pairs |= set(zip(*np.sort([one[both], other[both]], axis=0).tolist(), strict=True))
    return pairs


def _waists(
    labels: NDArray[np.int32], area: NDArray[np.int64]
) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]]:
    """Return, for each pair in one section, the weight of its slices and the weighted sum of its border depths."""
    from scipy import ndimage

    weights: dict[tuple[int, int], float] = {}
    shares: dict[tuple[int, int], float] = {}
    for k, plane in enumerate(labels):
        depth = np.asarray(ndimage.distance_transform_edt(plane > 0))
        top = np.asarray(ndimage.maximum(depth, plane, np.arange(area.shape[1])), float)
        passes: dict[tuple[int, int], float] = {}
        for axis in (0, 1):
            low, high, one, other = (
                part
                for moved in (np.moveaxis(plane, axis, 0), np.moveaxis(depth, axis, 0))
                for part in (moved[:-1], moved[1:])
            )
            where = np.nonzero((low != high) & (low > 0) & (high > 0))
            pairs = np.sort([low[where], high[where]], axis=0).T.tolist()
            for (a, b), height in zip(pairs, np.maximum(one[where], other[where]).tolist(), strict=True):
                passes[a, b] = max(passes.get((a, b), 0.0), height)
        for (a, b), height in passes.items():
            weight = float(min(area[k, a], area[k, b]))
            weights[a, b] = weights.get((a, b), 0.0) + weight
            shares[a, b] = shares.get((a, b), 0.0) + weight * min(1.0, height / min(top[a], top[b]))
    return weights, shares


def _has_no_neck(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Tell from the areas of two parts in all slices whether their body stays wide between the widest sections."""
    at = np.arange(len(one))
    apart = abs(np.average(at, weights=one) - np.average(at, weights=other))
    if apart < _BESIDE * min(np.count_nonzero(one), np.count_nonzero(other)):
        return False
    first, last = sorted((int(one.argmax()), int(other.argmax())))
    between = (one + other)[first : last + 1]
    return bool(between.min() >= _NECK * min(one.max(), other.max()))

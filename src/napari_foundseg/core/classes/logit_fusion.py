"""The panoptic fusion of EfficientPS, which joins logits of both heads (Mohan and Valada, IJCV 2021, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.panoptic import Panoptic
from napari_foundseg.core.labels import label_dtype

__all__ = ["BoxLogits", "fused_logits", "joined_logits"]


class BoxLogits(NamedTuple):
    """An object, described by the logits of its mask in its box."""

    logits: NDArray[np.float32]
    """(M', N'), positive inside."""
    corner: tuple[int, int]
    """First row and column of the box."""
    number: int
    """Its class, an index into the semantic logits."""
    score: float
    """Confidence of its class, 0 to 1."""


def joined_logits(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float32]:
    """Return (σ(A) + σ(B)) · (A + B): high where both agree, low where they do not."""
    from scipy.special import expit

    return np.asarray((expit(first) + expit(second)) * (first + second), np.float32)


def fused_logits(
    semantic: NDArray[np.float32],
    objects: Sequence[BoxLogits],
    *,
    stuff: Sequence[int],
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.5,
    stuff_area: int = 2048,
) -> Panoptic:
    """Fuse logits of classes with those of objects.

    Objects are processed by decreasing score. Each keeps the pixels of its mask that no better one has, and is dropped
    if too many are taken. In the object's box, the logits of its mask and of its class are joined. Each pixel goes to
    the highest of these joined logits and of the stuff logits. A pixel that no object wins gets the class with the
    highest semantic logit, if that is stuff with enough pixels.

    Parameters
    ----------
    semantic : (K, M, N) ndarray of float32
        Logits of the classes.
    objects : sequence of BoxLogits
        The objects.
    stuff : sequence of int
        Numbers of the classes that do not come in objects.
    score_threshold : float
        Objects with a lower score are dropped.
    overlap_threshold : float
        An object is dropped if a larger share of it is already taken.
    stuff_area : int
        Stuff with fewer pixels is dropped.

    Returns
    -------
    Panoptic
        The classes are their numbers plus 1. An object gets no pixel outside its box, since it has no logits there.
    """
    shape = semantic.shape[1:]
    kept = _kept([one for one in objects if one.score >= score_threshold], shape, overlap_threshold)
    best = semantic[list(stuff)].max(0) if stuff else np.full(shape, -np.inf, np.float32)
    owner = np.zeros(shape, label_dtype(len(kept)))
    for number, (one, free) in enumerate(kept, 1):
        box = _box(one)
        # Pixels that a better object has cannot go to this one.
        joined = np.where(free, joined_logits(one.logits, semantic[one.number][box]), -np.inf)
        wins = joined > best[box]
        best[box] = np.where(wins, joined, best[box])
        owner[box][wins] = number
    there = np.unique(owner[owner > 0])
    labels = np.searchsorted(there, owner).astype(owner.dtype) + (owner > 0)
    classes = np.array([kept[number - 1][0].number + 1 for number in there], np.int64)
    scores = np.array([kept[number - 1][0].score for number in there], float)
    out = np.zeros(shape, np.min_scalar_type(len(semantic)))
    out[labels > 0] = classes[labels[labels > 0] - 1]
    highest = semantic.argmax(0)
    for number in stuff:
        free = (highest == number) & (labels == 0)
        if np.count_nonzero(free) >= max(1, stuff_area):
            out[free] = number + 1
    return Panoptic(labels, out, classes, scores)


def _kept(
    objects: Sequence[BoxLogits], shape: tuple[int, ...], overlap_threshold: float
) -> list[tuple[BoxLogits, NDArray[np.bool_]]]:
    """Return the objects to keep, best first, each with the pixels of its box that no better one has."""
    taken = np.zeros(shape, bool)
    kept = []
    for one in sorted(objects, key=lambda one: -one.score):
        box = _box(one)
        inside = one.logits > 0
        covered = np.count_nonzero(inside & taken[box])
        area = np.count_nonzero(inside)
        if not area or covered / area > overlap_threshold or covered == area:
            continue
        kept.append((one, ~taken[box]))
        taken[box] |= inside
    return kept


def _box(one: BoxLogits) -> tuple[slice, slice]:
    (y, x), (rows, columns) = one.corner, one.logits.shape
    return slice(y, y + rows), slice(x, x + columns)

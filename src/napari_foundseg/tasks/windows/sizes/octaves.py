"""Octaves of a picture, and the choice of the one in which the objects are seen best.

The picture is decoded at its own size and shrunk by octaves (Adelson et al., RCA Engineer 29, 1984). Each object in an
octave has an expected quality, which depends on its size as the model sees it and on the certainty of the model. The
octave whose objects are worth most provides the maps. Better objects of other octaves replace some of its objects, so
that a large object does not shrink the small ones elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.masks import Box
from napari_foundseg.core.watershed import instance_scores, instances

__all__ = [
    "KNOTS",
    "Octave",
    "best_octave",
    "is_noise",
    "look_at",
    "look_at_octaves",
    "median_diameter",
    "quality_terms",
]

#: Diameters, as the model sees them, between which the expected quality is interpolated.
KNOTS = (6.0, 12.0, 20.0, 36.0, 70.0, 140.0, 300.0)
#: Expected quality above which an object counts for its octave; chosen on `train` and `val`, like those below.
_WORTH = 0.55
#: Bonus for the picture's own size, as a share of its worth; shrunk pictures show less.
_OWN_SIZE = 0.3
#: Mean quality by which the objects of an octave must exceed those of the next finer one if no octave is worth
#: anything: in a much shrunk picture, the background looks like objects.
_FARTHER = 0.07
#: Least quality of the best object of a picture; below that, there is only noise.
_CONVINCING = 0.45
#: The same if there are at least `_MANY` objects whose mean quality is below `_POOR`.
_CONVINCING_AMONG_POOR = 0.55
_MANY = 25
_POOR = 0.12
#: Objects larger than both must have an edge: share of a picture's shorter side, and diameter as the model sees it.
_LARGE_SHARE = 0.2
_LARGE_DIAMETER = 40.0
#: Smaller objects of a shrunk picture are specks; area in its pixels.
_SPECK = 20
#: Shortest side of a picture that is still decoded, and least factor by which it is shrunk.
_SHORTEST = 64
_SMALLEST = 1 / 16
#: Median diameter below which a picture is enlarged.
_ENLARGED_BELOW = 16.0


@dataclass(frozen=True, eq=False)
class Octave:
    """Objects that the decoder finds in a picture of one size.

    Parameters
    ----------
    scale : float
        Factor by which the picture was resized.
    maps : (3, M, N) ndarray of float16
        The maps, in pixels of the resized picture.
    labels : (M, N) ndarray of int
        The objects, 1 to n.
    quality : (n,) ndarray of float
        Expected quality of each object: the mean, over IoU thresholds of 0.5 to 0.95, of whether its IoU is above.
    confidence : (n,) ndarray of float
        Predicted IoU of each object.
    """

    scale: float
    maps: NDArray[np.float16]
    labels: NDArray[Any]
    quality: NDArray[np.float64]
    confidence: NDArray[np.float64]

    @property
    def worth(self) -> float:
        """Sum over the objects of their quality minus `_WORTH`."""
        return float((self.quality - _WORTH).sum())

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """Number of pixels of each object."""
        return np.bincount(self.labels.ravel(), minlength=len(self.quality) + 1)[1:]

    @property
    def diameters(self) -> NDArray[np.float64]:
        """Diameter of each object, as the model sees it."""
        return np.asarray(np.sqrt(4 / np.pi * self.areas))

    def without_pixels(self) -> Octave:
        """Return a copy that keeps the figures of the objects but no maps and labels, to save memory."""
        small = replace(self, maps=self.maps[:, :0, :0], labels=self.labels[:0, :0])
        vars(small)["areas"] = self.areas
        return small


def quality_terms(maps: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return the terms of the expected quality of objects, which is their weighted sum.

    Parameters
    ----------
    maps : (3, M, N) ndarray of float
        The maps.
    labels : (M, N) ndarray of int
        The objects, 1 to n.

    Returns
    -------
    (n, K) ndarray of float
        Nearness of the diameter to each of `KNOTS` (linear in its logarithm), doubt of the foreground, doubt times
        diameter, and least centre distance.
    """
    from scipy import ndimage

    ids = np.arange(1, int(labels.max(initial=0)) + 1)
    if not len(ids):
        return np.empty((0, len(KNOTS) + 3))
    areas = np.bincount(labels.ravel(), minlength=len(ids) + 1)[1:]
    diameters = np.sqrt(4 / np.pi * areas)
    knots = np.log2(KNOTS)
    at = np.clip(np.log2(np.maximum(diameters, 1)), knots[0], knots[-1])
    near = np.stack([np.interp(at, knots, row) for row in np.eye(len(knots))], axis=1)
    foreground = maps[0].astype(np.float32, copy=False)
    doubt = np.asarray(ndimage.mean(foreground * (1 - foreground), labels, ids), float)
    shallow = np.asarray(ndimage.minimum(maps[1].astype(np.float32, copy=False), labels, ids), float)
    return np.concatenate([near, np.stack([doubt, doubt * diameters, shallow], axis=1)], axis=1)


def look_at(
    maps: NDArray[np.float16],
    scale: float,
    shape: tuple[int, int],
    thresholds: Mapping[str, Any],
    weights: Sequence[float],
    calibration: Sequence[float] | None,
    has_edge: Callable[[Box, NDArray[np.bool_]], bool],
) -> Octave:
    """Find the objects in maps, and their expected quality.

    Parameters
    ----------
    maps : (3, M, N) ndarray of float16
        Maps of the picture at a scale, in pixels of the resized picture. Changed in place where an object is removed.
    scale : float
        Factor by which the picture was resized.
    shape : tuple of int
        Rows and columns of the picture.
    thresholds : mapping
        Thresholds for `core.watershed.instances`.
    weights : sequence of float
        Weights of `quality_terms`.
    calibration : sequence of float, optional
        Calibration for `core.watershed.instance_scores`.
    has_edge : callable
        Takes the box of a large object, in pixels of the picture, and its mask there, which may be shrunk. Returns
        False for a slope of the background.

    Returns
    -------
    Octave
    """
    least = max(_SPECK if scale < 1 else 0, round(thresholds["min_area"] * scale**2))
    labels = _with_edges(maps, instances(maps, **{**thresholds, "min_area": least}), shape, has_edge)
    if scale < 1:
        _drop_specks(maps, labels, thresholds["foreground_threshold"])
    quality = np.clip(quality_terms(maps, labels) @ np.asarray(weights), 0, 1)
    return Octave(scale, maps, labels, quality, instance_scores(maps, labels, calibration)[0])


def _drop_specks(maps: NDArray[np.float16], labels: NDArray[Any], threshold: float) -> None:
    """Remove foreground without an object from the maps of a shrunk picture; it would be objects in enlarged maps."""
    from scipy import ndimage

    parts, count = ndimage.label(maps[0] > threshold)
    has_object = np.bincount(parts[labels > 0], minlength=count + 1) > 0
    has_object[0] = True
    maps[0][~has_object[parts]] = 0


def look_at_octaves(
    look: Callable[[float], Octave], shape: tuple[int, int], foreground_threshold: float
) -> list[Octave]:
    """Decode a picture at its own size and shrunk by octaves; if its objects are small, also at twice its size.

    A picture in which no octave has an object, but which has foreground, may show objects that are too small for a
    centre.

    Parameters
    ----------
    look : callable
        Takes a scale and returns the octave of the picture at this scale.
    shape : tuple of int
        Rows and columns of the picture.
    foreground_threshold : float
        Least foreground probability of an object's pixels.

    Returns
    -------
    list of Octave
        The octaves, the largest picture first.
    """
    scales = [1.0]
    while scales[-1] > _SMALLEST and min(shape) * scales[-1] / 2 >= _SHORTEST:
        scales.append(scales[-1] / 2)
    octaves = [look(scale) for scale in scales]
    diameter = median_diameter(octaves[:1])
    has_foreground = bool((octaves[0].maps[0] > foreground_threshold).any())
    is_small = has_foreground if diameter is None else diameter < _ENLARGED_BELOW
    # Takes four times as long, so only if the objects are small.
    return [look(2.0), *octaves] if is_small and best_octave([octaves]) == 1 else octaves


def _with_edges(
    maps: NDArray[np.float16],
    labels: NDArray[Any],
    shape: tuple[int, int],
    has_edge: Callable[[Box, NDArray[np.bool_]], bool],
) -> NDArray[Any]:
    """Remove large objects without an edge, also from the maps: shading looks like objects in a shrunk picture."""
    from scipy import ndimage

    largest = max(_LARGE_DIAMETER, _LARGE_SHARE * min(labels.shape))
    dropped = []
    for number, part in enumerate(ndimage.find_objects(labels), 1):
        own = labels[part] == number
        if np.sqrt(4 / np.pi * np.count_nonzero(own)) < largest:
            continue
        margin = max(2, round(0.3 * max(own.shape)))
        y0, x0 = (max(0, one.start - margin) for one in part)
        y1, x1 = (min(n, one.stop + margin) for one, n in zip(part, labels.shape, strict=True))
        factors = shape[0] / labels.shape[0], shape[1] / labels.shape[1]
        box = (
            int(y0 * factors[0]),
            int(x0 * factors[1]),
            min(shape[0], round(y1 * factors[0])) - 1,
            min(shape[1], round(x1 * factors[1])) - 1,
        )
        if not has_edge(box, labels[y0:y1, x0:x1] == number):
            dropped.append(number)
    if not dropped:
        return labels
    without = np.isin(labels, dropped)
    maps[0][without] = 0
    ids = np.concatenate([[0], np.cumsum(~np.isin(np.arange(1, int(labels.max()) + 1), dropped))])
    kept: NDArray[Any] = np.where(without, 0, ids[labels]).astype(labels.dtype)
    return kept


def best_octave(pictures: Iterable[Sequence[Octave]]) -> float:
    """Return the scale of the octave whose objects are worth most.

    Parameters
    ----------
    pictures : iterable of sequence of Octave
        The octaves of one picture, or of several that share one scale, such as some slices of a stack.

    Returns
    -------
    float
        The scale; 1 if nothing is found at any scale.
    """
    worth: dict[float, float] = {}
    found: dict[float, int] = {}
    for octaves in pictures:
        for octave in octaves:
            worth[octave.scale] = worth.get(octave.scale, 0.0) + octave.worth
            found[octave.scale] = found.get(octave.scale, 0) + len(octave.quality)

    def led(scale: float) -> float:
        if worth[scale] > 0:
            return worth[scale] * (1 + (_OWN_SIZE if scale >= 1 else 0.0))
        # Not the sum, which would favour octaves with few objects, since all are worth less than 0.
        return worth[scale] / found[scale] - _FARTHER * max(0.0, -log2(scale))

    return max((scale for scale, count in found.items() if count), key=led, default=1.0)


def is_noise(octaves: Iterable[Octave]) -> bool:
    """Tell whether objects are found but none is convincing; among many poor ones, the best must be even better."""
    found = [octave.quality for octave in octaves if len(octave.quality)]
    if not found:
        return False
    together = np.concatenate(found)
    many_poor = len(together) >= _MANY and float(together.mean()) < _POOR
    return float(together.max()) < (_CONVINCING_AMONG_POOR if many_poor else _CONVINCING)


def median_diameter(octaves: Iterable[Octave]) -> float | None:
    """Return the median diameter of the objects of octaves, in pixels of the picture; None without objects."""
    diameters = [octave.diameters / octave.scale for octave in octaves]
    together = np.concatenate(diameters) if diameters else np.empty(0)
    return float(np.median(together)) if together.size else None

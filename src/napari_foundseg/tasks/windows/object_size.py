"""At which size a picture's objects are seen best, and maps that see each object at that size.

The decoder looks at the picture at its own size and shrunk by octaves (Adelson et al., RCA Engineer 29, 1984). Each
object that it finds in an octave has an expected quality, which depends on how large the model sees it and on how sure
it is. The octave whose objects are worth most gives the maps; objects of other octaves take their place where they are
better, so that a large object does not shrink the small ones elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.labels import label_dtype
from napari_foundseg.core.masks import Box
from napari_foundseg.core.watershed import instance_scores, instances
from napari_foundseg.tasks.windows.instance_maps import resized_maps

__all__ = ["KNOTS", "Octave", "best_octave", "fuse", "is_noise", "look_at_octaves", "median_diameter", "quality_terms"]

#: Diameters, as the model sees them, between which the expected quality is interpolated.
KNOTS = (6.0, 12.0, 20.0, 36.0, 70.0, 140.0, 300.0)
#: Expected quality that an object must have to speak for its octave; chosen on `train` and `val`, as those below.
_WORTH = 0.55
#: By what share of its worth the picture's own size leads over shrunk ones, which hold less of it.
_OWN_SIZE = 0.3
#: Quality by which the objects of an octave must be better on average than those of the next finer one, where none are
#: worth anything: what looks like objects in a much shrunk picture is its ground then.
_FARTHER = 0.07
#: Least quality of the best object of a picture: below it there is nothing but noise.
_CONVINCING = 0.45
#: By how much the quality of an object of another octave must be higher than that of those whose place it takes.
_BETTER = 0.2
#: Least quality of an object of another octave.
_LEAST = 0.6
#: Share of an object that others may cover already.
_COVERED = 0.3
#: Share of a picture's shorter side, and diameter as the model sees it, from which on an object must have an edge.
_LARGE_SHARE = 0.2
_LARGE_DIAMETER = 40.0
#: Longest side in pixels at which objects of different octaves are compared.
_COMPARED = 4096
#: Smaller objects of a shrunk picture, in its pixels, are specks.
_SPECK = 20
#: Shortest side of a picture that is still looked at, and least factor by which it is shrunk.
_SHORTEST = 64
_SMALLEST = 1 / 16
#: Median diameters, as the model sees them, below and above which the next finer or coarser octave has a say too.
_SMALL = 15.0
_LARGE = 60.0
_LARGE_ENLARGED = 18.0
#: Diameter, as the model sees it, of what is in neither of these cases, unless the picture is enlarged.
_APART = 30.0
#: Median diameter below which a picture is enlarged.
_ENLARGED_BELOW = 16.0


@dataclass(frozen=True, eq=False)
class Octave:
    """What the decoder finds in a picture of one size.

    Parameters
    ----------
    scale : float
        By how much the picture was resized.
    maps : (3, M, N) ndarray of float16
        The maps, in pixels of the resized picture.
    labels : (M, N) ndarray of int
        The objects, 1 to n.
    quality : (n,) ndarray of float
        The expected quality of each: mean over IoU thresholds of 0.5 to 0.95 of whether it is above.
    confidence : (n,) ndarray of float
        Its predicted IoU.
    """

    scale: float
    maps: NDArray[np.float16]
    labels: NDArray[Any]
    quality: NDArray[np.float64]
    confidence: NDArray[np.float64]

    @property
    def worth(self) -> float:
        """How much the objects speak for this octave."""
        return float((self.quality - _WORTH).sum())

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """Pixels of each object."""
        return np.bincount(self.labels.ravel(), minlength=len(self.quality) + 1)[1:]

    @property
    def diameters(self) -> NDArray[np.float64]:
        """Diameter of each object, as the model sees it."""
        return np.asarray(np.sqrt(4 / np.pi * self.areas))


def quality_terms(maps: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return what the expected quality of objects is a weighted sum of.

    Parameters
    ----------
    maps : (3, M, N) ndarray of float
        The maps.
    labels : (M, N) ndarray of int
        The objects, 1 to n.

    Returns
    -------
    (n, K) ndarray of float
        How near the diameter is to each of `KNOTS` (linear in its logarithm), the doubt of the foreground, the doubt
        times the diameter, and the least centre distance.
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


def look_at_octaves(
    decode: Callable[[float], NDArray[np.float16]],
    shape: tuple[int, int],
    thresholds: Mapping[str, Any],
    weights: Sequence[float],
    calibration: Sequence[float] | None,
    has_edge: Callable[[Box, NDArray[np.bool_]], bool],
) -> list[Octave]:
    """Look at a picture at its own size and shrunk by octaves; twice enlarged too where its objects are small.

    Parameters
    ----------
    decode : callable
        Returns the maps of the picture at a scale, in pixels of the resized picture.
    shape : tuple of int
        Rows and columns of the picture.
    thresholds : mapping
        As `core.watershed.instances` takes them.
    weights : sequence of float
        Of `quality_terms`.
    calibration : sequence of float, optional
        As `core.watershed.instance_scores` takes it.
    has_edge : callable
        Told the box of a large object, in pixels of the picture, and its mask there, shrunk or not. False takes it for
        a slope of the ground.

    Returns
    -------
    list of Octave
        The largest picture first.
    """
    scales = [1.0]
    while scales[-1] > _SMALLEST and min(shape) * scales[-1] / 2 >= _SHORTEST:
        scales.append(scales[-1] / 2)

    def look(scale: float) -> Octave:
        maps = decode(scale)
        least = max(_SPECK if scale < 1 else 0, round(thresholds["min_area"] * scale**2))
        labels = _with_edges(maps, instances(maps, **{**thresholds, "min_area": least}), shape, has_edge)
        quality = np.clip(quality_terms(maps, labels) @ np.asarray(weights), 0, 1)
        return Octave(scale, maps, labels, quality, instance_scores(maps, labels, calibration)[0])

    octaves = [look(scale) for scale in scales]
    small = best_octave([octaves]) == 1 and (median_diameter(octaves[:1]) or _ENLARGED_BELOW) < _ENLARGED_BELOW
    # Four times the work, so only where the objects ask for it.
    return [look(2.0), *octaves] if small else octaves


def _with_edges(
    maps: NDArray[np.float16],
    labels: NDArray[Any],
    shape: tuple[int, int],
    has_edge: Callable[[Box, NDArray[np.bool_]], bool],
) -> NDArray[Any]:
    """Drop large objects that have no edge, from the maps too: shading and slopes look like objects when shrunk."""
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
        The octaves of one picture, or of several that are to have one scale, such as some slices of a stack.

    Returns
    -------
    float
        1 where nothing is found at any.
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
        # Not the sum, which would be best where the fewest objects are seen.
        return worth[scale] / found[scale] - _FARTHER * max(0.0, -log2(scale))

    return max((scale for scale, count in found.items() if count), key=led, default=1.0)


def is_noise(octaves: Iterable[Octave]) -> bool:
    """Tell whether objects are seen, but none that convinces."""
    best = [float(octave.quality.max()) for octave in octaves if len(octave.quality)]
    return bool(best) and max(best) < _CONVINCING


def median_diameter(octaves: Iterable[Octave]) -> float | None:
    """Return the median diameter of the objects of octaves in pixels of the picture, None if there are none."""
    diameters = [octave.diameters / octave.scale for octave in octaves]
    together = np.concatenate(diameters) if diameters else np.empty(0)
    return float(np.median(together)) if together.size else None


def fuse(
    octaves: Sequence[Octave],
    scale: float,
    shape: tuple[int, int],
    least: float,
) -> NDArray[np.float16]:
    """Make maps in which each object is seen at the size that suits it.

    Parameters
    ----------
    octaves : sequence of Octave
        What was found at each size.
    scale : float
        Of the octave that gives the maps.
    shape : tuple of int
        Rows and columns of the picture.
    least : float
        Least confidence of an object.

    Returns
    -------
    (3, *shape) ndarray of float16
        Foreground, centre distance and boundary distance.
    """
    base = next(octave for octave in octaves if octave.scale == scale)
    maps = _with_neighbour(base, octaves, shape)
    better, worse = _of_other_octaves(base, octaves, least)
    if not better:
        return maps
    maps = maps.copy() if maps is base.maps else maps
    own = _enlarged_labels(base.labels, shape)
    maps[0][np.isin(own, worse)] = 0
    for octave in octaves:
        ids = [number for one, number in better if one is octave]
        if not ids:
            continue
        labels = _enlarged_labels(_dilated(np.where(np.isin(octave.labels, ids), octave.labels, 0)), shape)
        inside = labels > 0
        for target, part in zip(maps, resized_maps(octave.maps, shape), strict=True):
            target[inside] = part[inside]
    return maps


def _with_neighbour(base: Octave, octaves: Sequence[Octave], shape: tuple[int, int]) -> NDArray[np.float16]:
    """Return an octave's maps; where its objects are small or large for the model, the mean with the next octave's."""
    maps = resized_maps(base.maps, shape)
    if not len(base.quality):
        return maps
    middle = float(np.median(base.diameters))
    # What was enlarged holds no more than the picture itself.
    if _SMALL <= middle <= (_LARGE if base.scale <= 1 else _LARGE_ENLARGED):
        return maps
    scale = base.scale * (2 if middle < _SMALL else 0.5)
    other = next((octave.maps for octave in octaves if octave.scale == scale), None)
    if other is None:
        return maps
    own = maps
    maps = own.copy()
    # In place and in float16: of a large picture there are gigabytes of maps.
    maps += resized_maps(other, shape)
    maps *= np.float16(0.5)
    # Objects far from the median are not seen better in the other octave.
    least = _APART if base.scale <= 1 else _LARGE_ENLARGED
    apart = base.diameters > _APART if scale > base.scale else base.diameters < least
    if apart.any():
        ids = np.flatnonzero(apart) + 1
        labels = _dilated(np.where(np.isin(base.labels, ids), base.labels, 0))
        inside = _enlarged_labels(labels, shape) > 0
        maps[:, inside] = own[:, inside]
    return maps


def _of_other_octaves(
    base: Octave, octaves: Sequence[Octave], least: float
) -> tuple[list[tuple[Octave, int]], list[int]]:
    """Choose objects of other octaves that are better than what the base has in their place.

    Returns them, and the ids of those of the base that they replace. All objects are taken in the order of their
    quality (non-maximum suppression), those of the base with a lead.
    """
    candidates = []
    for octave in octaves:
        lead = _BETTER if octave is base else 0.0
        for number, (quality, confidence) in enumerate(zip(octave.quality, octave.confidence, strict=True), 1):
            if confidence >= least and (octave is base or quality >= _LEAST):
                candidates.append((quality + lead, octave, number))
    if all(octave is base for _, octave, _ in candidates):
        return [], []
    overlaps = _Overlaps(octaves)
    taken: list[tuple[Octave, int]] = []
    worse = []
    for _, octave, number in sorted(candidates, key=lambda one: -one[0]):
        if overlaps.free(octave, number):
            overlaps.take(octave, number)
            taken.append((octave, number))
        elif octave is base:
            worse.append(number)
    return [one for one in taken if one[0] is not base], worse


class _Overlaps:
    """Which objects of other octaves share pixels with those that were taken."""

    def __init__(self, octaves: Sequence[Octave]) -> None:
        largest = max((octave.labels.shape for octave in octaves), key=lambda one: one[0] * one[1])
        shrunk = min(1.0, _COMPARED / max(largest))
        shape = (max(1, round(largest[0] * shrunk)), max(1, round(largest[1] * shrunk)))
        self.labels = {id(octave): _enlarged_labels(octave.labels, shape) for octave in octaves}
        self.areas = {key: np.bincount(labels.ravel()) for key, labels in self.labels.items()}
        self.boxes = {id(octave): _boxes(self.labels[id(octave)], len(octave.quality)) for octave in octaves}
        self.owner = np.zeros(shape, np.int32)
        self.sizes = [0]

    def free(self, octave: Octave, number: int) -> bool:
        """Tell whether an object has a place beside those that were taken."""
        box = self.boxes[id(octave)][number - 1]
        if box is None:
            # Too small to be compared: it covers nothing that was taken.
            return True
        own = self.labels[id(octave)][box] == number
        covered = np.bincount(self.owner[box][own], minlength=len(self.sizes))
        covered[0] = 0
        return bool(
            covered.sum() <= _COVERED * self.areas[id(octave)][number] and (covered <= 0.5 * np.array(self.sizes)).all()
        )

    def take(self, octave: Octave, number: int) -> None:
        """Note the pixels of an object that is taken."""
        box = self.boxes[id(octave)][number - 1]
        if box is None:
            return
        own = self.labels[id(octave)][box] == number
        self.owner[box][own & (self.owner[box] == 0)] = len(self.sizes)
        self.sizes.append(int(self.areas[id(octave)][number]))


def _boxes(labels: NDArray[Any], count: int) -> list[Any]:
    from scipy import ndimage

    return list(ndimage.find_objects(labels, max_label=count))


def _enlarged_labels(labels: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Bring labels to another number of pixels, each with its nearest."""
    if labels.shape == shape:
        return labels
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1) for n, m in zip(shape, labels.shape, strict=True)
    )
    enlarged: NDArray[Any] = labels[rows[:, None], columns]
    return enlarged


def _dilated(labels: NDArray[Any]) -> NDArray[Any]:
    """Grow objects by two pixels, so that their rim comes from the same maps."""
    from skimage.segmentation import expand_labels

    return np.asarray(expand_labels(labels, 2)).astype(label_dtype(int(labels.max(initial=0))), copy=False)

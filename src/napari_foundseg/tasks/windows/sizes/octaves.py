"""At which size a picture's objects are seen best.

The decoder looks at the picture at its own size and shrunk by octaves (Adelson et al., RCA Engineer 29, 1984). Each
object that it finds in an octave has an expected quality, which depends on how large the model sees it and on how sure
it is. The octave whose objects are worth most gives the maps; objects of other octaves take their place where they are
better, so that a large object does not shrink the small ones elsewhere.
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
#: Expected quality that an object must have to speak for its octave; chosen on `train` and `val`, as those below.
_WORTH = 0.55
#: By what share of its worth the picture's own size leads over shrunk ones, which hold less of it.
_OWN_SIZE = 0.3
#: Quality by which the objects of an octave must be better on average than those of the next finer one, where none are
#: worth anything: what looks like objects in a much shrunk picture is its ground then.
_FARTHER = 0.07
#: Least quality of the best object of a picture: below it there is nothing but noise.
_CONVINCING = 0.45
#: The same where so many objects have a mean quality that is so low.
_CONVINCING_AMONG_POOR = 0.55
_MANY = 25
_POOR = 0.12
#: Share of a picture's shorter side, and diameter as the model sees it, from which on an object must have an edge.
_LARGE_SHARE = 0.2
_LARGE_DIAMETER = 40.0
#: Smaller objects of a shrunk picture, in its pixels, are specks.
_SPECK = 20
#: Shortest side of a picture that is still looked at, and least factor by which it is shrunk.
_SHORTEST = 64
_SMALLEST = 1 / 16
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

    def without_pixels(self) -> Octave:
        """Return the figures of the objects alone, which need little memory."""
        small = replace(self, maps=self.maps[:, :0, :0], labels=self.labels[:0, :0])
        vars(small)["areas"] = self.areas
        return small


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


def look_at(
    maps: NDArray[np.float16],
    scale: float,
    shape: tuple[int, int],
    thresholds: Mapping[str, Any],
    weights: Sequence[float],
    calibration: Sequence[float] | None,
    has_edge: Callable[[Box, NDArray[np.bool_]], bool],
) -> Octave:
    """Find the objects of maps, and what they are worth.

    Parameters
    ----------
    maps : (3, M, N) ndarray of float16
        Of the picture at a scale, in pixels of the resized picture; changed where an object is taken for ground.
    scale : float
        The scale.
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
    Octave
    """
    least = max(_SPECK if scale < 1 else 0, round(thresholds["min_area"] * scale**2))
    labels = _with_edges(maps, instances(maps, **{**thresholds, "min_area": least}), shape, has_edge)
    if scale < 1:
        _drop_specks(maps, labels, thresholds["foreground_threshold"])
    quality = np.clip(quality_terms(maps, labels) @ np.asarray(weights), 0, 1)
    return Octave(scale, maps, labels, quality, instance_scores(maps, labels, calibration)[0])


def _drop_specks(maps: NDArray[np.float16], labels: NDArray[Any], threshold: float) -> None:
    """Drop the foreground that is not an object of a shrunk picture, which would be one where its maps are enlarged."""
    from scipy import ndimage

    parts, count = ndimage.label(maps[0] > threshold)
    has_object = np.bincount(parts[labels > 0], minlength=count + 1) > 0
    has_object[0] = True
    maps[0][~has_object[parts]] = 0


def look_at_octaves(look: Callable[[float], Octave], shape: tuple[int, int]) -> list[Octave]:
    """Look at a picture at its own size and shrunk by octaves; twice enlarged too where its objects are small.

    Parameters
    ----------
    look : callable
        Returns what is found in the picture at a scale.
    shape : tuple of int
        Rows and columns of the picture.

    Returns
    -------
    list of Octave
        The largest picture first.
    """
    scales = [1.0]
    while scales[-1] > _SMALLEST and min(shape) * scales[-1] / 2 >= _SHORTEST:
        scales.append(scales[-1] / 2)
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
    """Tell whether objects are seen, but none that convinces; or many, of which hardly one does, as in smooth noise."""
    found = [octave.quality for octave in octaves if len(octave.quality)]
    if not found:
        return False
    together = np.concatenate(found)
    many_poor = len(together) >= _MANY and float(together.mean()) < _POOR
    return float(together.max()) < (_CONVINCING_AMONG_POOR if many_poor else _CONVINCING)


def median_diameter(octaves: Iterable[Octave]) -> float | None:
    """Return the median diameter of the objects of octaves in pixels of the picture, None if there are none."""
    diameters = [octave.diameters / octave.scale for octave in octaves]
    together = np.concatenate(diameters) if diameters else np.empty(0)
    return float(np.median(together)) if together.size else None

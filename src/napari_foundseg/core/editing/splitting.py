"""Dividing an object between clicks: a random walk from the summits that the clicks climb to.

A click says which part is meant, not where its middle is. From each click the depth of the object, its distance to
the border, is climbed to a summit; the disc around the summit and the way to it belong to the click. Every other pixel
belongs to the click whose disc a random walk from it reaches first most often (Grady, IEEE PAMI 28, 1768-1783, 2006).
The walk passes a waist seldom, since steps are as likely as the object is deep there, and an edge of the picture
seldom, since they grow less likely with the difference of brightness. A cut is short where nothing else decides.

What a model sees may be given (`Evidence`): steps grow less likely at the borders that it sees, and its scores of the
parts are added to the logarithm of the walk's shares. What it takes for another part is not a start of a click's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Evidence", "divide"]

#: Pixels of the smoothing of the depth, in the order in which they are tried until each click has a summit of its own.
_SMOOTHING = (1.5, 1.0, 0.7, 0.5)
#: Share of the depth at a summit that the disc of its click reaches, without and with what a model sees.
_DISC = 0.6
_DISC_SEEN = 0.75
#: Difference in brightness to the click, in ranges of the object, at which its way and disc end without a model.
_ALIKE = 0.5
#: How much less likely a step becomes over a difference in brightness of the object's whole range, as an exponent.
_CONTRAST = 9.0
#: How much less likely a step becomes where a model is sure of a border, as an exponent. This and the next three were
#: chosen on `val` and `train`.
_BORDER = 8.0
#: Weight of a model's scores beside the logarithm of the walk's shares, and where both end.
_TRUST = 0.12
_SUREST = 6.0
_LEAST_SHARE = 1e-3
#: Least probability of a part at which a pixel may be a start of it; of scores that are halved.
_OWN = 0.3
#: Pixels by which the picture is smoothed.
_NOISE = 0.7
#: Likelihood of the least likely step.
_LEAST = 1e-6
#: Pixels of a box from which on it is divided at a coarser grid.
_MOST = 40_000

Bool = NDArray[np.bool_]
Floats = NDArray[np.float64]
Place = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a model sees in an object.

    Parameters
    ----------
    borders : (*shape) ndarray of float, optional
        Of the mask's shape: 1 on a border between objects, towards 0 deep in one.
    scores : (clicks, *shape) ndarray of float, optional
        Logits of the part of each click; equal where nothing is known.
    """

    borders: NDArray[Any] | None = None
    scores: NDArray[Any] | None = None

    def of_clicks(self, index: tuple[Any, ...], clicks: Sequence[int]) -> Evidence:
        """Return what is seen in a part of the array, of some of the clicks."""
        borders = None if self.borders is None else self.borders[index]
        scores = None if self.scores is None else self.scores[(list(clicks), *index)]
        return Evidence(borders, scores)

    def coarser(self, steps: Sequence[int]) -> Evidence:
        """Return the means of blocks of pixels."""
        borders = None if self.borders is None else _blocks(self.borders.astype(float), steps)
        scores = None if self.scores is None else np.stack([_blocks(s.astype(float), steps) for s in self.scores])
        return Evidence(borders, scores)


def divide(
    mask: Bool,
    clicks: Sequence[Place],
    spacing: Sequence[float],
    picture: NDArray[Any] | None = None,
    evidence: Evidence | None = None,
) -> NDArray[np.int32]:
    """Divide an object into one part for each click.

    Parameters
    ----------
    mask : ndarray of bool
        The object, with background around it but at the edges of the image, beyond which it goes on.
    clicks : sequence of tuple of int
        Pixels of the object, all different.
    spacing : sequence of float
        The size of a pixel along each axis.
    picture : ndarray, optional
        Brightness, of the mask's shape.
    evidence : Evidence, optional
        What a model sees.

    Returns
    -------
    ndarray of int32
        1 for the part of the first click and so on, 0 outside the object. Each click is in its part. A piece of the
        object that is not connected with any click belongs to the nearest part.
    """
    steps = _strides(mask.shape, spacing)
    shares = _shares(mask, clicks, spacing, picture, evidence, steps)
    parts = np.where(mask, shares.argmax(0) + 1, 0).astype(np.int32)
    for i, click in enumerate(clicks, 1):
        parts[click] = i
    return _tidied(mask, parts, clicks, spacing)


def _strides(shape: tuple[int, ...], spacing: Sequence[float]) -> list[int]:
    """Return the pixels along each axis that are looked at as one: the finest axes first, until few are left."""
    steps = [1] * len(shape)
    while np.prod([-(-n // s) for n, s in zip(shape, steps, strict=True)]) > _MOST:
        sizes = [s * k if n >= 8 * k else np.inf for n, s, k in zip(shape, spacing, steps, strict=True)]
        steps[int(np.argmin(sizes))] *= 2
    return steps


def _shares(
    mask: Bool,
    clicks: Sequence[Place],
    spacing: Sequence[float],
    picture: NDArray[Any] | None,
    evidence: Evidence | None,
    steps: Sequence[int],
) -> Floats:
    """Return how much each pixel belongs to each click, (clicks, *shape)."""
    from scipy import ndimage

    if max(steps) == 1:
        return _walked(mask, clicks, spacing, picture, evidence)
    places = [tuple(c // k for c, k in zip(click, steps, strict=True)) for click in clicks]
    if len(set(places)) < len(places):
        # Clicks this near to one another: what is nearest to which.
        far = np.stack([_distances(mask.shape, click, spacing) for click in clicks])
        return -far
    coarse = _blocks(mask.astype(float), steps)
    inside = coarse > 0
    seen = None if picture is None else _blocks(np.where(mask, picture, 0.0), steps) / np.maximum(coarse, 1e-9)
    sizes = [s * k for s, k in zip(spacing, steps, strict=True)]
    shares = _walked(inside, places, sizes, seen, None if evidence is None else evidence.coarser(steps))
    # Between the centres of blocks, of those in the object only.
    at = np.meshgrid(
        *((np.arange(n) + 0.5) / k - 0.5 for n, k in zip(mask.shape, steps, strict=True)), indexing="ij", sparse=True
    )
    where = np.broadcast_arrays(*at)
    weight = ndimage.map_coordinates(inside.astype(float), where, order=1, mode="nearest")
    fine = [ndimage.map_coordinates(share * inside, where, order=1, mode="nearest") for share in shares]
    return np.asarray(np.stack(fine) / np.maximum(weight, 1e-9))


def _blocks(values: Floats, steps: Sequence[int]) -> Floats:
    """Return the means of blocks of pixels."""
    padded = np.pad(values, [(0, -n % k) for n, k in zip(values.shape, steps, strict=True)], mode="edge")
    shape = [m for n, k in zip(padded.shape, steps, strict=True) for m in (n // k, k)]
    return np.asarray(padded.reshape(shape).mean(tuple(range(1, len(shape), 2))))


def _walked(
    mask: Bool,
    clicks: Sequence[Place],
    spacing: Sequence[float],
    picture: NDArray[Any] | None,
    evidence: Evidence | None,
) -> Floats:
    """Solve the random walk on one grid: how often it reaches each click first, and what a model adds."""
    from scipy import ndimage

    depth = np.asarray(ndimage.distance_transform_edt(_bordered(mask), sampling=spacing)[(slice(1, -1),) * mask.ndim])
    bright = None if picture is None else _brightness(mask, picture)
    if evidence is None:
        seeds = _seeds(mask, depth, clicks, spacing, bright, _DISC)
    else:
        # What looks different may be one part all the same: a model knows better.
        seeds = _own(_seeds(mask, depth, clicks, spacing, None, _DISC_SEEN), clicks, evidence.scores)
    borders = None if evidence is None else evidence.borders
    starts, ends, ease = _steps(mask, depth, spacing, bright, borders)
    shares = np.zeros((len(clicks), *mask.shape))
    shares[:, mask] = _harmonic(starts, ends, ease, seeds[mask], len(clicks))
    if evidence is None or evidence.scores is None:
        return shares
    scores = np.clip(evidence.scores.astype(float), -_SUREST, _SUREST)
    return np.asarray(np.log(np.clip(shares, _LEAST_SHARE, 1)) + _TRUST * scores)


def _steps(
    mask: Bool, depth: Floats, spacing: Sequence[float], bright: Floats | None, borders: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any], Floats]:
    """Return the steps between neighbours in an object: from which of its pixels, to which, how likely."""
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(np.count_nonzero(mask))
    starts: list[NDArray[Any]] = []
    ends: list[NDArray[Any]] = []
    ease: list[Floats] = []
    for one, other, length in _neighbours(mask.shape, spacing):
        both = mask[one] & mask[other]
        likely = np.minimum(depth[one][both], depth[other][both])
        if bright is not None:
            likely = likely * np.exp(-_CONTRAST * np.abs(bright[one][both] - bright[other][both]))
        if borders is not None:
            likely = likely * np.exp(-_BORDER * np.maximum(borders[one][both], borders[other][both]))
        starts.append(number[one][both])
        ends.append(number[other][both])
        ease.append((likely / depth.max() + _LEAST) / length**2)
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(ease)


def _own(seeds: NDArray[np.int32], clicks: Sequence[Place], scores: NDArray[Any] | None) -> NDArray[np.int32]:
    """Take away from what belongs to each click what a model takes for another part."""
    if scores is None:
        return seeds
    powers = np.exp((scores - scores.max(0)) / 2.0)
    probable = powers / powers.sum(0)
    kept = seeds.copy()
    for i, click in enumerate(clicks):
        kept[(seeds == i + 1) & (probable[i] < _OWN)] = 0
        kept[click] = i + 1
    return kept


def _bordered(mask: Bool) -> Bool:
    """Let the object go on beyond the edges of the array."""
    return np.pad(mask, 1, mode="edge") if not mask.all() else np.pad(mask, 1)


def _brightness(mask: Bool, picture: NDArray[Any]) -> Floats | None:
    """Return the smoothed picture in ranges of the object; None where it is of one brightness."""
    from scipy import ndimage

    smooth = np.asarray(ndimage.gaussian_filter(picture.astype(float), _NOISE))
    low, high = np.percentile(smooth[mask], [1, 99])
    return smooth / (high - low) if high > low else None


def _seeds(
    mask: Bool, depth: Floats, clicks: Sequence[Place], spacing: Sequence[float], seen: Floats | None, share: float
) -> NDArray[np.int32]:
    """Return what belongs to each click from the start: its way to the summit and the disc there."""
    from scipy import ndimage

    ways = _ways(mask, depth, clicks, spacing, seen)
    tops = [way[-1] for way in ways]
    away = np.stack([_distances(mask.shape, top, spacing) for top in tops])
    apart = min(float(away[i][other]) for i in range(len(tops)) for other in tops[:i])
    reach = np.array([min(share * depth[top], apart / 2 - min(spacing) / 2) for top in tops])
    seeds = np.zeros(mask.shape, np.int32)
    for i, (top, click) in enumerate(zip(tops, clicks, strict=True)):
        disc = mask & (away[i] <= reach[i]) & (away[i] == away.min(0))
        if seen is not None:
            disc &= np.abs(seen - seen[click]) <= _ALIKE
        connected = ndimage.label(disc, np.ones((3,) * mask.ndim))[0]
        seeds[disc & (connected == connected[top])] = i + 1
    for i, way in enumerate(ways, 1):
        seeds[tuple(np.transpose(way))] = i
    return seeds


def _ways(
    mask: Bool, depth: Floats, clicks: Sequence[Place], spacing: Sequence[float], seen: Floats | None
) -> list[list[Place]]:
    """Climb from each click to a summit of its own, or to where the picture looks different; else stay."""
    from scipy import ndimage

    for radius in _SMOOTHING:
        height = ndimage.gaussian_filter(depth, [radius * min(spacing) / s for s in spacing])
        ways = [_alike(_climb(height, mask, click), seen) for click in clicks]
        if len({way[-1] for way in ways}) == len(clicks):
            return ways
    return [[click] for click in clicks]


def _alike(way: list[Place], seen: Floats | None) -> list[Place]:
    """End a way where the picture does not look like its start any more."""
    if seen is None:
        return way
    far = np.abs(seen[tuple(np.transpose(way))] - seen[way[0]]) > _ALIKE
    return way[: int(far.argmax())] if far.any() else way


def _climb(height: Floats, mask: Bool, start: Place) -> list[Place]:
    """Return the pixels from one up to a summit, always to the highest neighbour."""
    way = [start]
    while True:
        here = way[-1]
        around = tuple(slice(max(0, c - 1), c + 2) for c in here)
        heights = np.where(mask[around], height[around], -np.inf)
        best = np.unravel_index(heights.argmax(), heights.shape)
        following = tuple(int(c) + part.start for c, part in zip(best, around, strict=True))
        if height[following] <= height[here]:
            return way
        way.append(following)


def _distances(shape: tuple[int, ...], place: Place, spacing: Sequence[float]) -> Floats:
    axes = [(np.arange(n) - c) * s for n, c, s in zip(shape, place, spacing, strict=True)]
    return np.asarray(np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij", sparse=True))))


def _neighbours(
    shape: tuple[int, ...], spacing: Sequence[float]
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...], float]]:
    """Iterate over the steps to half of a pixel's neighbours: from where, to where, how far."""
    for step in product((-1, 0, 1), repeat=len(shape)):
        if step > (0,) * len(shape):
            one = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(step, shape, strict=True))
            other = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(step, shape, strict=True))
            yield one, other, float(np.linalg.norm(np.multiply(step, spacing)))


def _harmonic(starts: NDArray[Any], ends: NDArray[Any], ease: Floats, seeds: NDArray[np.int32], count: int) -> Floats:
    """Return the share of walks from each pixel that reach each of the seeds 1 to `count` first."""
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import cg

    n = len(seeds)
    shares = np.zeros((count, n))
    given = np.flatnonzero(seeds)
    shares[seeds[given] - 1, given] = 1
    free = np.flatnonzero(seeds == 0)
    if not len(free):
        return shares
    both = (np.concatenate([starts, ends]), np.concatenate([ends, starts]))
    graph = coo_array((np.concatenate([ease, ease]), both), (n, n)).tocsr()
    # A pixel without a way to a seed gets no share.
    total = np.asarray(graph.sum(1)).ravel() + 1e-12
    matrix = (diags_array(total) - graph).tocsr()[free]
    inner = matrix[:, free]
    jacobi = diags_array(1 / total[free])
    for i in range(count - 1):
        shares[i, free], _ = cg(inner, -(matrix[:, given] @ shares[i, given]), rtol=1e-5, maxiter=2000, M=jacobi)
    shares[-1, free] = 1 - shares[:-1, free].sum(0)
    return shares


def _tidied(
    mask: Bool, parts: NDArray[np.int32], clicks: Sequence[Place], spacing: Sequence[float]
) -> NDArray[np.int32]:
    """Give what is not connected with the click of its part to the part that it touches, or the nearest."""
    from scipy import ndimage
    from skimage.segmentation import watershed

    eight = np.ones((3,) * mask.ndim)
    kept = np.zeros_like(parts)
    for i, click in enumerate(clicks, 1):
        connected = ndimage.label(parts == i, eight)[0]
        kept[connected == connected[click]] = i
    if (kept == parts).all():
        return kept
    grown: NDArray[np.int32] = watershed(np.zeros(mask.shape, np.uint8), kept, connectivity=eight, mask=mask).astype(
        np.int32
    )
    if (grown[mask] > 0).all():
        return grown
    nearest = ndimage.distance_transform_edt(grown == 0, sampling=spacing, return_distances=False, return_indices=True)
    grown[mask] = grown[tuple(nearest)][mask]
    return grown

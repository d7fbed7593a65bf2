"""Divide an object between clicks, by a random walk from summits near the clicks.

A click marks a part, but not its middle. The depth of a pixel is its distance to the object's border. From each click,
a path climbs the depth to a summit. The path and a disc around the summit belong to the click. Every other pixel
belongs to the click whose disc or path a random walk from it most often reaches first (Grady, IEEE PAMI 28, 1768-1783,
2006). The walk seldom passes a waist, since a step is as likely as the object is deep there. It seldom passes an edge
of the picture, since a difference in brightness makes a step less likely. Where nothing else decides, the cut is short.

A model may add evidence (`Evidence`). Steps are less likely at the borders that it detects, and its scores of the parts
are added to the logarithm of the walk's shares. A pixel that it assigns to another part is not a start for the click.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Evidence", "divide"]

#: Smoothing of the depth in pixels. The values are tried in this order until each click has its own summit.
_SMOOTHING = (1.5, 1.0, 0.7, 0.5)
#: Radius of a click's disc as a share of the depth at its summit, without and with a model's evidence.
_DISC = 0.6
_DISC_SEEN = 0.75
#: Without a model, a click's path and disc end where the brightness differs from the click by this share of the range.
_ALIKE = 0.5
#: Negative exponent of a step's likelihood over a difference in brightness of the object's whole range.
_CONTRAST = 9.0
#: Negative exponent of a step's likelihood where a model is sure of a border. This and the next three values were
#: chosen on `val` and `train`.
_BORDER = 8.0
#: Weight of a model's scores relative to the logarithm of the walk's shares, and the values at which both are clipped.
_TRUST = 0.12
_SUREST = 6.0
_LEAST_SHARE = 1e-3
#: Least probability of a part for a pixel that starts it. Probabilities are computed from halved scores.
_OWN = 0.3
#: Smoothing of the picture in pixels.
_NOISE = 0.7
#: Likelihood of the least likely step.
_LEAST = 1e-6
#: A box with more pixels than this is divided on a coarser grid.
_MOST = 40_000

Bool = NDArray[np.bool_]
Floats = NDArray[np.float64]
Place = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """A model's evidence about the parts of an object.

    Parameters
    ----------
    borders : (*shape) ndarray of float, optional
        In the mask's shape: 1 on a border between objects, towards 0 deep in an object.
    scores : (clicks, *shape) ndarray of float, optional
        Logits of the part of each click; equal where the model has no evidence.
    """

    borders: NDArray[Any] | None = None
    scores: NDArray[Any] | None = None

    def of_clicks(self, index: tuple[Any, ...], clicks: Sequence[int]) -> Evidence:
        """Return the evidence in a part of the array, for some of the clicks."""
        borders = None if self.borders is None else self.borders[index]
        scores = None if self.scores is None else self.scores[(list(clicks), *index)]
        return Evidence(borders, scores)

    def coarser(self, steps: Sequence[int]) -> Evidence:
        """Return the evidence averaged over blocks of pixels."""
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
        The object, with a margin of background except at the edges of the image, beyond which it continues.
    clicks : sequence of tuple of int
        Pixels of the object, all different.
    spacing : sequence of float
        The size of a pixel along each axis.
    picture : ndarray, optional
        Brightness, in the mask's shape.
    evidence : Evidence, optional
        Evidence from a model.

    Returns
    -------
    ndarray of int32
        1 for the part of the first click and so on; 0 outside the object. Each click is in its part. A piece of the
        object that is not connected with any click belongs to the nearest part.
    """
    steps = _strides(mask.shape, spacing)
    shares = _shares(mask, clicks, spacing, picture, evidence, steps)
    parts = np.where(mask, shares.argmax(0) + 1, 0).astype(np.int32)
    for i, click in enumerate(clicks, 1):
        parts[click] = i
    return _tidied(mask, parts, clicks, spacing)


def _strides(shape: tuple[int, ...], spacing: Sequence[float]) -> list[int]:
    """Return the pixels to combine along each axis. The finest axes are coarsened first, until few pixels are left."""
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
    """Return how strongly each pixel belongs to each click, (clicks, *shape)."""
    from scipy import ndimage

    if max(steps) == 1:
        return _walked(mask, clicks, spacing, picture, evidence)
    places = [tuple(c // k for c, k in zip(click, steps, strict=True)) for click in clicks]
    if len(set(places)) < len(places):
        # The clicks are in the same block: use the distance to each click.
        far = np.stack([_distances(mask.shape, click, spacing) for click in clicks])
        return -far
    coarse = _blocks(mask.astype(float), steps)
    inside = coarse > 0
    seen = None if picture is None else _blocks(np.where(mask, picture, 0.0), steps) / np.maximum(coarse, 1e-9)
    sizes = [s * k for s, k in zip(spacing, steps, strict=True)]
    shares = _walked(inside, places, sizes, seen, None if evidence is None else evidence.coarser(steps))
    # Interpolate between the centres of blocks, using only blocks in the object.
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
    """Solve the random walk on one grid: how often it reaches each click first, plus a model's scores."""
    from scipy import ndimage

    depth = np.asarray(ndimage.distance_transform_edt(_bordered(mask), sampling=spacing)[(slice(1, -1),) * mask.ndim])
    bright = None if picture is None else _brightness(mask, picture)
    if evidence is None:
        seeds = _seeds(mask, depth, clicks, spacing, bright, _DISC)
    else:
        # Pixels of different brightness may still be one part. The model's evidence decides that better.
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
    """Return the steps between neighbouring pixels of an object: start pixels, end pixels and likelihoods."""
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
    """Remove pixels from the seeds of each click that a model assigns to another part."""
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
    """Pad the mask by one pixel, so that the object continues beyond the edges of the array."""
    return np.pad(mask, 1, mode="edge") if not mask.all() else np.pad(mask, 1)


def _brightness(mask: Bool, picture: NDArray[Any]) -> Floats | None:
    """Return the smoothed picture, divided by its range in the object; None if the object has uniform brightness."""
    from scipy import ndimage

    smooth = np.asarray(ndimage.gaussian_filter(picture.astype(float), _NOISE))
    low, high = np.percentile(smooth[mask], [1, 99])
    return smooth / (high - low) if high > low else None


def _seeds(
    mask: Bool, depth: Floats, clicks: Sequence[Place], spacing: Sequence[float], seen: Floats | None, share: float
) -> NDArray[np.int32]:
    """Return the pixels that belong to each click from the start: its path to the summit and the disc there."""
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
    """Climb from each click to its own summit, or until the picture looks different.

    If summits coincide at every smoothing, each path stays at its click.
    """
    from scipy import ndimage

    for radius in _SMOOTHING:
        height = ndimage.gaussian_filter(depth, [radius * min(spacing) / s for s in spacing])
        ways = [_alike(_climb(height, mask, click), seen) for click in clicks]
        if len({way[-1] for way in ways}) == len(clicks):
            return ways
    return [[click] for click in clicks]


def _alike(way: list[Place], seen: Floats | None) -> list[Place]:
    """Cut a path where the picture no longer looks like its start."""
    if seen is None:
        return way
    far = np.abs(seen[tuple(np.transpose(way))] - seen[way[0]]) > _ALIKE
    return way[: int(far.argmax())] if far.any() else way


def _climb(height: Floats, mask: Bool, start: Place) -> list[Place]:
    """Return the pixels of a path from `start` to a summit, always to the highest neighbour."""
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
    """Iterate over the steps to half of a pixel's neighbours: start slices, end slices and length."""
    for step in product((-1, 0, 1), repeat=len(shape)):
        if step > (0,) * len(shape):
            one = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(step, shape, strict=True))
            other = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(step, shape, strict=True))
            yield one, other, float(np.linalg.norm(np.multiply(step, spacing)))


def _harmonic(starts: NDArray[Any], ends: NDArray[Any], ease: Floats, seeds: NDArray[np.int32], count: int) -> Floats:
    """Return the share of walks from each pixel that first reach each of the seeds 1 to `count`."""
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
    # A pixel without a path to a seed gets no share.
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
    """Give pixels that are not connected with their part's click to the part that they touch, or to the nearest."""
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

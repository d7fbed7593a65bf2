"""Shapes between two shapes, by linear blending of their signed distances after moving and scaling them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["blended_shapes"]

Bool = NDArray[np.bool_]
Floats = NDArray[np.float64]

#: Fraction by which the area of a shape may be outside the range of the two areas.
_BEYOND = 0.1
#: Pixels of padding, for shapes that touch the edge.
_MARGIN = 2


def blended_shapes(first: Bool, last: Bool, count: int, spacing: Sequence[float]) -> Iterator[Bool]:
    """Iterate over shapes at equal steps between two shapes.

    Parameters
    ----------
    first, last : ndarray of bool
        The two shapes, in the same box.
    count : int
        Number of shapes between them.
    spacing : sequence of float
        Size of a pixel along each axis.

    Yields
    ------
    ndarray of bool
        A shape with an area between those of the two; with holes, up to a tenth beyond.
    """
    shapes = [np.pad(shape, _MARGIN) for shape in (first, last)]
    core = (slice(_MARGIN, -_MARGIN),) * first.ndim
    whole = _Pair.of(shapes[0], shapes[1], spacing)
    filled, holes = _outlines_and_holes(shapes, spacing)
    for number in range(1, count + 1):
        part = number / (count + 1)
        shape = whole.between(part, core)
        if holes is not None:
            # Blend a moving hole as a separate shape. Blended with its object, it would close on the way.
            with_holes = filled.between(part, core) & ~holes.between(part, core)
            if whole.low * (1 - _BEYOND) <= np.count_nonzero(with_holes) <= whole.high * (1 + _BEYOND):
                shape = with_holes
        yield shape


def _outlines_and_holes(shapes: Sequence[Bool], spacing: Sequence[float]) -> tuple[_Pair, _Pair | None]:
    """Return the shapes without their holes, and the holes; None for the holes unless both shapes have some."""
    filled = [_filled(shape) for shape in shapes]
    holes = [whole & ~shape for whole, shape in zip(filled, shapes, strict=True)]
    pair = _Pair.of(filled[0], filled[1], spacing)
    if not all(hole.any() for hole in holes):
        return pair, None
    return pair, _Pair.of(holes[0], holes[1], spacing)


def _filled(shape: Bool) -> Bool:
    """Fill holes along the axes that have more than one pixel."""
    from scipy import ndimage

    axes = tuple(axis for axis, n in enumerate(shape.shape) if n == 2 * _MARGIN + 1)
    where = tuple(_MARGIN if axis in axes else slice(None) for axis in range(shape.ndim))
    out = np.zeros_like(shape)
    out[where] = ndimage.binary_fill_holes(shape[where])
    return out


@dataclass(frozen=True, eq=False)
class _Pair:
    """The signed distances, centroids, radii and areas of two shapes."""

    distances: tuple[Floats, Floats]
    middles: tuple[Floats, Floats]
    radii: tuple[float, float]
    low: int
    high: int

    @classmethod
    def of(cls, first: Bool, last: Bool, spacing: Sequence[float]) -> _Pair:
        """Measure two shapes."""
        areas = [int(np.count_nonzero(first)), int(np.count_nonzero(last))]
        one, other = (_place(shape, spacing) for shape in (first, last))
        return cls(
            (_signed_distance(first, spacing), _signed_distance(last, spacing)),
            (one[0], other[0]),
            (one[1], other[1]),
            min(areas),
            max(areas),
        )

    def between(self, part: float, core: tuple[slice, ...]) -> Bool:
        """Return the shape at a fraction `part` of the way from the first to the last."""
        middle = (1 - part) * self.middles[0] + part * self.middles[1]
        radius = (1 - part) * self.radii[0] + part * self.radii[1]
        one, other = (
            _moved(distance, own, middle, radius / size if size else 1.0)
            for distance, own, size in zip(self.distances, self.middles, self.radii, strict=True)
        )
        score = ((1 - part) * one + part * other)[core]
        shape = score > 0
        area = int(np.count_nonzero(shape))
        wanted = min(max(area, self.low), self.high)
        if area == wanted:
            return shape
        # Shapes that cross or divide could vanish or swell on the way: choose as many of the deepest pixels as wanted.
        chosen = np.zeros(score.size, bool)
        chosen[np.argsort(-score, axis=None, kind="stable")[:wanted]] = True
        return chosen.reshape(score.shape)


def _signed_distance(shape: Bool, spacing: Sequence[float]) -> Floats:
    """Return the distance to the outline, positive inside."""
    from scipy import ndimage

    inside = ndimage.distance_transform_edt(shape, sampling=spacing)
    outside = ndimage.distance_transform_edt(~shape, sampling=spacing)
    # The outline is between pixels.
    half = min(spacing) / 2
    return np.asarray(np.where(shape, inside - half, half - outside))


def _place(shape: Bool, spacing: Sequence[float]) -> tuple[Floats, float]:
    """Return a shape's centroid in pixels, and the root mean square of the distances to it."""
    pixels = np.argwhere(shape)
    middle = pixels.mean(0)
    return middle, float(np.sqrt((((pixels - middle) * spacing) ** 2).sum(1).mean()))


def _moved(distance: Floats, middle: Floats, to: Floats, scale: float) -> Floats:
    """Return the distances of a shape after moving it to another place and scaling it."""
    from scipy import ndimage

    if scale == 1 and (middle == to).all():
        return distance
    moved = ndimage.affine_transform(
        distance, np.full(distance.ndim, 1 / scale), middle - to / scale, order=1, cval=float(distance.min())
    )
    return np.asarray(moved * scale)

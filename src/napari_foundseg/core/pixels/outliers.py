"""Outliers that must not decide the contrast: dust, dead cells, scale bars, frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.pixels.noise import BLOCK, blocks, pixel_noise

__all__ = ["BurntIn", "burnt_in_pixels", "find_burnt_in", "typical_limit"]

#: Greatest limit above the ground, as a multiple of the typical brightness of bright blocks. Chosen on `train`.
_TYPICAL = 2.0
#: A bright block is above the ground by this many deviations of noise, and by this share of the range of bright blocks.
_NOISE = 5.0
_SHARE = 0.25
#: A lower limit is used only below this share of the plain range.
_LOWER = 0.7
#: Largest share of the pixels, and of the bright blocks, that counts as a minority.
_FEW = 0.06
_FEW_BLOCKS = 0.3
#: Least number of bright blocks for a decision.
_FEWEST = 4
#: Least number of different values in pictures of a microscope.
_SHADES = 12
#: Least number of pixels of a burnt-in part.
_SMALLEST = 30
#: Least share of its bounding box that a bar or square fills, and least ratio of a bar's length to its width.
_FILLED = 0.95
_LONG = 4.0
#: Least step at a rim, as a share of the range of all other pixels, and largest share of the rim without a step.
_STEP = 0.25
_SOFT = 0.2
#: Least distance of a square's value from all other pixels, as a multiple of their range.
_FAR = 0.5
#: Largest share of a plane that may be burnt in.
_MOST = 0.4
_EIGHT = np.ones((3, 3), bool)


class BurntIn(NamedTuple):
    """The grey value of a scale bar, a frame or a mark."""

    value: float
    #: Grey value of the ground, which replaces it.
    ground: float
    #: Share of the sample's pixels that have the value.
    share: float


def typical_limit(planes: Sequence[NDArray[Any]], low: float, high: float) -> float | None:
    """Return an upper limit that does not depend on a minority of very bright pixels; None to keep the plain limit.

    The typical brightness is the median of the bright blocks. The limit is at most twice that far from the ground.

    Parameters
    ----------
    planes : sequence of (M, N) ndarray
        Grey values.
    low, high : float
        The plain limits.
    """
    from scipy import ndimage

    heights = []
    for plane in planes:
        values = _scaled(plane, low, high)
        rows, columns = (n // 16 * 16 for n in values.shape)
        if not rows or not columns or not np.isfinite(values).all():
            continue
        floors, tops = np.percentile(blocks(values, rows, columns), (5, 95), axis=1)
        ground = float(np.median(values))
        noise = pixel_noise(values)
        # In whole numbers, differences of less than one do not show.
        noise = max(noise, 1 / (high - low)) if plane.dtype.kind in "iu" else noise
        least = ground + max(_NOISE * noise, _SHARE * (float(np.percentile(tops, 90)) - ground))
        # On a slope the ground is higher than elsewhere, so a bright block must also rise above its surroundings.
        near = ndimage.minimum_filter(floors.reshape(rows // BLOCK, columns // BLOCK), 3).ravel()
        heights.append(tops[(tops > least) & (tops - near > least - ground)])
    together = np.concatenate(heights) if heights else np.empty(0)
    if together.size < _FEWEST:
        return None
    limit = _TYPICAL * float(np.median(together))
    brighter = np.mean([float(np.mean(_scaled(plane, low, high) > limit)) for plane in planes])
    # If many blocks are brighter, as on one side of a shaded picture, they are no outliers.
    few = brighter <= _FEW and np.mean(together > limit) <= _FEW_BLOCKS
    return low + limit * (high - low) if 0 < limit < _LOWER and few else None


def _scaled(plane: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Return grey values scaled so that `low` is 0 and `high` is 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((plane.astype(np.float64) - low) / (high - low))


def find_burnt_in(planes: Sequence[NDArray[Any]]) -> BurntIn | None:
    """Find the grey value of a scale bar, a frame or a mark: the least or greatest of the picture, without shades.

    Parameters
    ----------
    planes : sequence of (M, N) ndarray
        Grey values.
    """
    if not all(np.isfinite(plane).all() for plane in planes):
        return None
    for end in (np.max, np.min):
        value = float(end([end(plane) for plane in planes]))
        flags = [plane == value for plane in planes]
        share = float(np.mean([flag.mean() for flag in flags]))
        if not 0 < share <= _MOST:
            continue
        others = np.concatenate([plane[~flag] for plane, flag in zip(planes, flags, strict=True)])
        if others.size < _SMALLEST:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            first, middle, last = map(float, np.percentile(others.astype(np.float64), (0.5, 50, 99.5)))
        if not np.isfinite(last - first):
            return None
        if last <= first or len(np.unique(others[:: max(1, others.size // 4096)])) < _SHADES:
            # The other pixels have hardly any shades: the value is the picture's content, or all of it is drawn.
            continue
        far = value - last > _FAR * (last - first) or first - value > _FAR * (last - first)
        if any(_is_drawn(plane, flag, far) for plane, flag in zip(planes, flags, strict=True)):
            return BurntIn(value, middle, share)
    return None


def burnt_in_pixels(plane: NDArray[Any], value: float) -> NDArray[np.bool_]:
    """Return the mask of pixels of a plane, or of a box in it, that belong to a scale bar, frame or mark of a value."""
    from scipy import ndimage

    flags = np.asarray(plane == value)
    if not flags.any():
        return flags
    parts, count = ndimage.label(flags, _EIGHT)
    kept = np.bincount(parts.ravel(), minlength=count + 1) >= _SMALLEST
    kept[0] = False
    kept &= _steps(plane, flags, parts, count, value)
    found: NDArray[np.bool_] = kept[parts]
    return found


def _is_drawn(plane: NDArray[Any], flags: NDArray[np.bool_], far: bool) -> bool:
    """Tell whether a plane has a frame or bar of a value or, if the value is far from all others, a square."""
    from scipy import ndimage

    if not 0 < flags.mean() <= _MOST:
        return False
    sides = (flags[:2], flags[-2:], flags[:, :2], flags[:, -2:])
    if any(side.all() for side in sides):
        return True
    parts, count = ndimage.label(flags, _EIGHT)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sharp = _steps(plane, flags, parts, count, float(plane[flags][0]))
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        height, width = (one.stop - one.start for one in box)
        if sizes[number] < _SMALLEST or not sharp[number] or min(height, width) < 2:
            continue
        if sizes[number] >= _FILLED * height * width and (far or max(height, width) >= _LONG * min(height, width)):
            return True
    return False


def _steps(
    plane: NDArray[Any], flags: NDArray[np.bool_], parts: NDArray[Any], count: int, value: float
) -> NDArray[np.bool_]:
    """Return for each part whether its rim is a step, which nothing in focus or blurred has."""
    from scipy import ndimage

    others = plane[~flags]
    if not others.size:
        return np.ones(count + 1, bool)
    first, last = np.percentile(others.astype(np.float64), (1, 99))
    rims = np.where(flags, 0, ndimage.maximum_filter(parts, 3))
    near = np.abs(plane.astype(np.float64) - value) < _STEP * max(float(last - first), 1e-12)
    around = np.bincount(rims.ravel(), minlength=count + 1)
    soft = np.bincount(rims[near & ~flags].ravel(), minlength=count + 1)
    return np.asarray(soft <= _SOFT * np.maximum(around, 1))

"""What a few very bright or dark pixels must not do to the contrast: dust, dead cells, scale bars, frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.pixels.noise import BLOCK, blocks, pixel_noise

__all__ = ["BurntIn", "burnt_in_pixels", "find_burnt_in", "typical_limit"]

#: By how many times the typical brightness of what is bright a limit may lie above the ground; chosen on `train`.
_TYPICAL = 2.0
#: Standard deviations of noise, and share of the range of bright blocks, by which a block is above the ground.
_NOISE = 5.0
_SHARE = 0.25
#: Share of the plain range from which on nothing is gained by a lower limit.
_LOWER = 0.7
#: Largest share of the pixels, and of the bright blocks, that are a minority.
_FEW = 0.06
_FEW_BLOCKS = 0.3
#: Fewer blocks tell nothing.
_FEWEST = 4
#: Different values that pictures of a microscope have at least.
_SHADES = 12
#: Pixels of a part that was burnt in.
_SMALLEST = 30
#: Share of its bounding box that a bar or square fills, and how many times longer than wide a bar is.
_FILLED = 0.95
_LONG = 4.0
#: Share of the range of all other pixels by which a rim is a step, and of the rim that may be none.
_STEP = 0.25
_SOFT = 0.2
#: By how many times the range of all other pixels a square lies beyond them.
_FAR = 0.5
#: Largest share of a plane that is taken for burnt in.
_MOST = 0.4
_EIGHT = np.ones((3, 3), bool)


class BurntIn(NamedTuple):
    """A grey value that a scale bar, a frame or a mark has."""

    value: float
    #: Grey value of the ground, which stands for it.
    ground: float
    #: Of the sample.
    share: float


def typical_limit(planes: Sequence[NDArray[Any]], low: float, high: float) -> float | None:
    """Return an upper limit that a minority of very bright pixels does not decide, None if they do not.

    Half of the blocks in which something is bright are darker than what is typical; the limit is twice that far from
    the ground at most.

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
        # Of whole numbers, differences of less than one are not seen.
        noise = max(noise, 1 / (high - low)) if plane.dtype.kind in "iu" else noise
        least = ground + max(_NOISE * noise, _SHARE * (float(np.percentile(tops, 90)) - ground))
        # On a slope the ground is above the ground elsewhere: what is bright rises from what is near.
        near = ndimage.minimum_filter(floors.reshape(rows // BLOCK, columns // BLOCK), 3).ravel()
        heights.append(tops[(tops > least) & (tops - near > least - ground)])
    together = np.concatenate(heights) if heights else np.empty(0)
    if together.size < _FEWEST:
        return None
    limit = _TYPICAL * float(np.median(together))
    brighter = np.mean([float(np.mean(_scaled(plane, low, high) > limit)) for plane in planes])
    # Where many blocks are brighter, as on one side of a shaded picture, that is what the picture shows.
    few = brighter <= _FEW and np.mean(together > limit) <= _FEW_BLOCKS
    return low + limit * (high - low) if 0 < limit < _LOWER and few else None


def _scaled(plane: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Return grey values so that `low` is 0 and `high` is 1."""
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
            # Nothing but the value itself differs: it is what the picture shows, or all of it is drawn.
            continue
        far = value - last > _FAR * (last - first) or first - value > _FAR * (last - first)
        if any(_is_drawn(plane, flag, far) for plane, flag in zip(planes, flags, strict=True)):
            return BurntIn(value, middle, share)
    return None


def burnt_in_pixels(plane: NDArray[Any], value: float) -> NDArray[np.bool_]:
    """Return which pixels of a plane, or of a box in it, belong to a scale bar, a frame or a mark of a value."""
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
    """Tell whether a plane has a frame or bar of a value, or, where the value is far from all others, a square."""
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
    """Tell of each part whether its rim is a step, as nothing in focus or blurred has it."""
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

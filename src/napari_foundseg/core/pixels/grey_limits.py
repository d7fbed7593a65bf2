"""The grey values of an image that become black and white, and any doubts about them, from one sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.contrast import (
    AsIs,
    CTWindow,
    FoundLimits,
    Limits,
    MinMax,
    Percentile,
    describe_normalisation,
    doubts_of,
    find_limits,
    find_limits_without_outliers,
)
from napari_foundseg.core.pixels.sampling import flat, is_flat

__all__ = ["measure_limits"]

#: Most pixels to read if the first sample has only one value.
_MOST_PIXELS = 1 << 26


def measure_limits(
    sample_of: Callable[[int], tuple[list[NDArray[Any]], tuple[float, float]]],
    normalisation: Percentile | AsIs | MinMax | Limits | CTWindow | None,
    fixed: tuple[float, float] | None,
) -> tuple[FoundLimits, str]:
    """Return limits, and doubts in words.

    Parameters
    ----------
    sample_of : callable
        Returns the result of `sample_planes` for a value of ``most``; 0 for the usual sample.
    normalisation : Percentile or AsIs or MinMax or Limits or CTWindow or None
        The normalisation of the image.
    fixed : tuple of float, optional
        The limits, if the normalisation sets them.
    """
    planes, whole = sample_of(0)
    sample = flat(planes)
    if is_flat(sample) and (more := sample_of(_MOST_PIXELS)[0]):
        # An object may be in slices or between pixels that were not in the sample.
        planes = more
        sample = flat(planes)
    doubts = doubts_of(sample)
    if not np.isfinite(sample).any() or sample.dtype == bool:
        return FoundLimits(0.0, 1.0), doubts
    if fixed is not None and normalisation is not None:
        return FoundLimits(*fixed), " ".join(filter(None, (doubts, _flatness(sample, normalisation, fixed))))
    if isinstance(normalisation, MinMax):
        found = find_limits(planes, 0, 100)
        return (found if found.mended else replace(found, low=whole[0], high=whole[1])), doubts
    chosen = normalisation if isinstance(normalisation, Percentile) else Percentile()
    find = find_limits if chosen.outliers == "kept" else find_limits_without_outliers
    return find(planes, chosen.low, chosen.high), doubts


def _flatness(
    sample: NDArray[Any],
    normalisation: Percentile | AsIs | MinMax | Limits | CTWindow,
    limits: tuple[float, float],
) -> str:
    """Return a sentence if the chosen limits show a whole sample as one grey value; else an empty string."""
    least, greatest = (float(value) for value in np.nanpercentile(sample, (0, 100)))
    low, high = limits
    if least == greatest or (low < high and greatest > low and least < high):
        return ""
    how = describe_normalisation(normalisation)
    colour = "white" if low < high and least >= high else "black"
    return f"The contrast ({how}) makes every pixel {colour}: the values go from {least:g} to {greatest:g}."

"""Stacks whose brightness decays, as in a film that bleaches. Each slice has its own contrast limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.pixels.noise import pixel_noise

__all__ = ["Fading", "find_fading"]

#: Least factor by which the contrast falls from the first to the last slice.
_LEAST = 2.5
#: Greatest correlation of slice and logarithm of the contrast, for films and for other stacks, whose objects may end.
_IN_TIME = -0.9
_ELSEWHERE = -0.975
#: Least number of slices for a decision.
_FEWEST = 4
#: Least contrast of a slice, in standard deviations of noise, so that empty slices stay dark.
_NOISE = 10.0


class Fading(NamedTuple):
    """The contrast limits of some slices of a stack, interpolated for the slices between."""

    #: Number of each slice.
    at: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def limits(self, number: int) -> tuple[float, float]:
        """Return the limits of a slice."""
        low = float(np.interp(number, self.at, self.low))
        ranges = np.log(np.subtract(self.high, self.low))
        return low, low + float(np.exp(np.interp(number, self.at, ranges)))

    @property
    def share(self) -> float:
        """The contrast of the last slice as a share of that of the first."""
        return (self.high[-1] - self.low[-1]) / (self.high[0] - self.low[0])


def find_fading(
    planes: Sequence[NDArray[Any]], at: Sequence[float], low: float, high: float, *, in_time: bool
) -> Fading | None:
    """Return the limits of slices if the brightness of a stack decays from slice to slice.

    Parameters
    ----------
    planes : sequence of (M, N) ndarray
        Grey values of some slices, in their order.
    at : sequence of float
        Number of each slice.
    low, high : float
        Percentiles that give the limits.
    in_time : bool
        Whether the stack is a film.

    Returns
    -------
    Fading or None
        None if it does not decay.
    """
    if len(planes) < _FEWEST or any(plane.ndim != 2 or min(plane.shape) < 3 for plane in planes):
        return None
    values = [plane.astype(np.float64) for plane in planes]
    if not all(np.isfinite(plane).all() for plane in values):
        return None
    ends = np.array([np.percentile(plane, (low, high)) for plane in values])
    noise = np.array([pixel_noise(plane) for plane in values])
    ranges = np.maximum(ends[:, 1] - ends[:, 0], _NOISE * noise)
    if (ranges <= 0).any() or ranges[0] < _LEAST * ranges[-1]:
        return None
    if np.corrcoef(at, np.log(ranges))[0, 1] > (_IN_TIME if in_time else _ELSEWHERE):
        return None
    return Fading(tuple(map(float, at)), tuple(map(float, ends[:, 0])), tuple(map(float, ends[:, 0] + ranges)))

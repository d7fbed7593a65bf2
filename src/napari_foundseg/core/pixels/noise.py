"""The noise of a picture, and the smoothing before a model sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "blocks", "noise_of", "pixel_noise", "smoothing_for"]

#: Side in pixels of the blocks in which noise is measured.
BLOCK = 16
#: Detail is noise if second differences have at least this many times the energy of first differences. The ratio is 3
#: for white noise, and below 1 for sharp pictures of nuclei.
_WHITE = 2.2
#: A block is bright if it is above the ground by this share of the picture's range.
_BRIGHT = 0.15
#: Standard deviations of noise (of 255 grey values) and of the Gaussian filter (in pixels) for each of them. Chosen on
#: `train` and `val`.
_NOISE = (8.0, 12.0, 30.0, 80.0)
_SIGMA = (0.0, 0.7, 0.9, 2.0)
#: Median absolute second difference of white noise of standard deviation 1.
_MEDIAN = 0.6745 * np.sqrt(6)


def noise_of(picture: NDArray[np.floating]) -> float:
    """Estimate the standard deviation of the noise of a picture.

    It uses second differences (Immerkær, Computer Vision and Image Understanding 64, 1996). Their median is taken in
    bright blocks, where photons make more noise than on dark ground.

    Parameters
    ----------
    picture : (M, N) ndarray of float
        Grey values.

    Returns
    -------
    float
        In grey values; 0 if neighbouring pixels are too similar for white noise.
    """
    rows, columns = (n // BLOCK * BLOCK for n in (picture.shape[0], picture.shape[1] - 2))
    if not rows or columns <= 0:
        return 0.0
    first = np.diff(picture, axis=1)
    second = np.diff(first, axis=1)
    energy = float(np.mean(first**2))
    if not energy or float(np.mean(second**2)) < _WHITE * energy:
        return 0.0
    deviations = np.median(blocks(np.abs(second), rows, columns), axis=1) / _MEDIAN
    heights = np.percentile(blocks(picture, rows, columns), 75, axis=1)
    bright = heights > np.median(picture) + _BRIGHT * np.ptp(picture)
    chosen = deviations[bright] if np.count_nonzero(bright) > 3 else deviations
    return float(np.median(chosen))


def pixel_noise(picture: NDArray[np.floating]) -> float:
    """Estimate the standard deviation of white noise from the second differences of all rows.

    Parameters
    ----------
    picture : (M, N) ndarray of float
        Grey values.

    Returns
    -------
    float
        In grey values. Fine detail counts as noise. 0 for pictures narrower than three pixels.
    """
    second = np.abs(np.diff(picture, 2, axis=1))
    return float(np.median(second)) / _MEDIAN if second.size else 0.0


def smoothing_for(noise: float) -> float:
    """Return the width of the Gaussian filter that should smooth a picture for a model.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise, on a scale of 255 grey values.

    Returns
    -------
    float
        Standard deviation of the filter in pixels; 0 if the noise does no harm.
    """
    return float(np.interp(noise, _NOISE, _SIGMA)) if noise > _NOISE[0] else 0.0


def blocks(picture: NDArray[np.floating], rows: int, columns: int) -> NDArray[np.floating]:
    """Return the pixels of square blocks of 16 by 16 pixels, one block per row. Both sizes are multiples of 16."""
    cut = picture[:rows, :columns]
    blocks = cut.reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK).swapaxes(1, 2)
    return blocks.reshape(-1, BLOCK * BLOCK)

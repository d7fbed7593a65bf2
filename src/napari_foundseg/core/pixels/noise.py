"""How noisy a picture is, and how much to smooth it before a model sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "blocks", "noise_of", "pixel_noise", "smoothing_for"]

#: Side in pixels of the blocks in which noise is measured.
BLOCK = 16
#: How many times the energy of first differences that of second differences is at least, if detail is noise: 3 for
#: white noise, below 1 for sharp pictures of nuclei.
_WHITE = 2.2
#: Share of a picture's range by which a block must be above the ground to count as bright.
_BRIGHT = 0.15
#: Standard deviations of noise, of 255 grey values, and of the Gaussian filter in pixels that suits each; chosen on
#: `train` and `val`.
_NOISE = (8.0, 12.0, 30.0, 80.0)
_SIGMA = (0.0, 0.7, 0.9, 2.0)
#: Median of the second differences of white noise of deviation 1.
_MEDIAN = 0.6745 * np.sqrt(6)


def noise_of(picture: NDArray[np.floating]) -> float:
    """Estimate the standard deviation of the noise of a picture.

    From second differences (Immerkær, Computer Vision and Image Understanding 64, 1996), as their median in the blocks
    that are bright, where photons make more noise than on dark ground.

    Parameters
    ----------
    picture : (M, N) ndarray of float
        Grey values.

    Returns
    -------
    float
        In grey values; 0 where neighbouring pixels are so much alike that there is no white noise.
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
        In grey values; fine detail counts as noise. 0 for pictures narrower than three pixels.
    """
    second = np.abs(np.diff(picture, 2, axis=1))
    return float(np.median(second)) / _MEDIAN if second.size else 0.0


def smoothing_for(noise: float) -> float:
    """Return by how much a Gaussian filter should smooth a picture for a model.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise, of 255 grey values.

    Returns
    -------
    float
        Standard deviation of the filter in pixels; 0 where the noise does no harm.
    """
    return float(np.interp(noise, _NOISE, _SIGMA)) if noise > _NOISE[0] else 0.0


def blocks(picture: NDArray[np.floating], rows: int, columns: int) -> NDArray[np.floating]:
    """Return the pixels of square blocks of 16 pixels a side, one block a row; both sizes are multiples of 16."""
    cut = picture[:rows, :columns]
    blocks = cut.reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK).swapaxes(1, 2)
    return blocks.reshape(-1, BLOCK * BLOCK)

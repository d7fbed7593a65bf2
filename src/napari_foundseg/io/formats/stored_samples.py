"""`StoredSamples`: what the values of a file are, as its tags say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Photometric", "StoredSamples"]

Photometric = Literal["grey", "white is zero", "rgb", "palette", "cmyk", "ycbcr", "cielab", "icclab", "other"]

#: Weights of red, green and blue in Y, where the file names no others.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class StoredSamples:
    """What the stored values of an image are.

    Parameters
    ----------
    photometric : str
        What a value, or the values of a pixel together, stand for.
    axis : int, optional
        The axis of the array along which the values of one pixel are; None where a pixel has one value.
    count : int
        Values of a pixel.
    bits : int
        Bits of a value in the file, which may be fewer than those of the array.
    alpha : int, optional
        Which of the values is the opacity.
    palette : (N, 3) ndarray of uint8, optional
        Colours by stored value.
    luma : tuple of float
        Of YCbCr: the weights of red, green and blue.
    black_white : tuple of float, optional
        Of YCbCr: the values of black and white of each component.
    """

    photometric: Photometric = "grey"
    axis: int | None = None
    count: int = 1
    bits: int = 8
    alpha: int | None = None
    palette: NDArray[np.uint8] | None = None
    luma: tuple[float, ...] = _LUMA
    black_white: tuple[float, ...] | None = None

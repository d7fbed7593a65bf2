"""`StoredSamples`: the meaning of the values in a file, according to its tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Photometric", "StoredSamples"]

Photometric = Literal["grey", "white is zero", "rgb", "palette", "cmyk", "ycbcr", "cielab", "icclab", "other"]

#: Default weights of red, green and blue in Y.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class StoredSamples:
    """The meaning of the stored values of an image.

    Parameters
    ----------
    photometric : str
        The meaning of a value, or of the values of a pixel together.
    axis : int, optional
        The axis of the array along which a pixel has its values; None if a pixel has one value.
    count : int
        Number of values of a pixel.
    bits : int
        Bits of a value in the file, which may be fewer than those of the array.
    alpha : int, optional
        The number of the value that is the opacity.
    palette : (N, 3) ndarray of uint8, optional
        Colours by stored value.
    luma : tuple of float
        For YCbCr: the weights of red, green and blue.
    black_white : tuple of float, optional
        For YCbCr: the values of black and white of each component.
    """

    photometric: Photometric = "grey"
    axis: int | None = None
    count: int = 1
    bits: int = 8
    alpha: int | None = None
    palette: NDArray[np.uint8] | None = None
    luma: tuple[float, ...] = _LUMA
    black_white: tuple[float, ...] | None = None

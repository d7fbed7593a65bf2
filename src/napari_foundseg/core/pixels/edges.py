"""Compare the gradient of a picture at the rim of an object with the gradient elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["edge_ratio"]

#: Standard deviation in pixels of the derivative of a Gaussian.
_SIGMA = 1.5
#: Distance from the rim, in pixels, beyond which a pixel is inside or outside, and the outer limit of the surroundings.
_NEAR = 4
_FAR = 8


def edge_ratio(picture: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Return the ratio of the gradient at an object's rim to that inside and around it, or to that around it alone.

    Parameters
    ----------
    picture : (M, N) ndarray of float
        Grey values.
    mask : (M, N) ndarray of bool
        The object's pixels; about 50 pixels across.

    Returns
    -------
    float
        The lower of both ratios. It is 1 or less on slopes, where an object has no edge of its own, and infinite on
        even ground.
    """
    from scipy import ndimage

    values = picture.astype(np.float32, copy=False)
    parts: list[NDArray[Any]] = [ndimage.gaussian_filter(values, _SIGMA, order=order) for order in ((0, 1), (1, 0))]
    gradient = np.hypot(*parts)
    # The border of the picture is not a rim.
    depth = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1]
    distance = ndimage.distance_transform_edt(~mask)
    rim = mask & (depth <= 1.5)
    outside = (distance > _NEAR) & (distance <= _FAR)
    around = (mask & (depth > _NEAR)) | outside
    if not rim.any() or not around.any():
        return float("inf")
    # Shading that continues beyond the object may become steeper there.
    elsewhere = max(float(gradient[part].mean()) for part in (around, outside) if part.any())
    return float(gradient[rim].mean()) / elsewhere if elsewhere else float("inf")

"""Visibility of the objects in the examples of *Find similar*."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_foundseg.core.pixels.noise import pixel_noise

__all__ = ["notes_on_examples", "stands_out"]

#: Least difference of an object from its surroundings: in grey values of 255, and in deviations of the noise. It is
#: exceeded by 358 of 360 nuclei of the Data Science Bowl 2018, and by 20 of 240 discs on bare background.
_LEAST_GREY = 3.0
_LEAST_PER_NOISE = 0.75
#: Least ratio of the spreads of two textures that count as different.
_LEAST_SPREAD = 1.6
#: Distances from the outline, in pixels: up to the first they belong to it, up to the second to the surroundings.
_OUTLINE = 2
_AROUND = 8
#: Number of pixels below which a median is not reliable.
_FEW = 9


def stands_out(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> bool:
    """Tell whether an object differs from its surroundings: in brightness, at its outline or in texture.

    Parameters
    ----------
    rgb : (M, N, 3) ndarray of uint8
        The object and its surroundings; a difference in one channel is enough.
    mask : (M, N) ndarray of bool
        The object. Without any surroundings, it counts as different.
    """
    around = ndimage.binary_dilation(mask, iterations=_AROUND) & ~ndimage.binary_dilation(mask, iterations=_OUTLINE)
    if np.count_nonzero(around) < _FEW:
        return True
    inside = ndimage.binary_erosion(mask, iterations=_OUTLINE)
    own = [part for part in (inside, mask & ~inside) if np.count_nonzero(part) >= _FEW] or [mask]
    for channel in np.moveaxis(rgb.astype(np.float32), -1, 0):
        medians = [float(np.median(channel[part])) for part in (*own, around)]
        difference = max(medians) - min(medians)
        if difference >= max(_LEAST_GREY, _LEAST_PER_NOISE * pixel_noise(channel)):
            return True
        spreads = sorted((_spread(channel[own[0]]), _spread(channel[around])))
        if spreads[1] >= max(_LEAST_GREY, _LEAST_SPREAD * spreads[0]):
            return True
    return False


def notes_on_examples(shown: Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_] | None]]) -> list[str]:
    """Return a note on examples, each a picture and a mask, that do not stand out; those without a mask are skipped."""
    faint = [n for n, (rgb, mask) in enumerate(shown, 1) if mask is not None and not stands_out(rgb, mask)]
    if not faint:
        return []
    which = f"Example {faint[0]} shows" if len(faint) == 1 else f"Examples {', '.join(map(str, faint))} show"
    note = (
        f"{which} nothing that differs from its surroundings in brightness, colour or texture, so bare ground may have "
        "been found. Choose examples on objects, or another contrast or channel."
    )
    return [note]


def _spread(values: NDArray[np.float32]) -> float:
    """Return a robust estimate of the standard deviation."""
    return float(np.median(np.abs(values - np.median(values))) / 0.6745)

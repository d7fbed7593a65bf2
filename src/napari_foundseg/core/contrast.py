"""Normalisation: how grey values of any dtype become the 8 bits that models see."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_foundseg.core.declared_fields import Declared

__all__ = ["CTWindow", "Limits", "Normalisation", "Percentile", "doubts_of", "to_uint8"]


class Percentile(Declared):
    """Stretch between two percentiles, the same for every slice of a stack and every colour channel."""

    kind: Literal["percentile"] = "percentile"
    low: float = Field(0.5, ge=0, le=100)
    high: float = Field(99.5, ge=0, le=100)

    @model_validator(mode="after")
    def _ordered(self) -> Percentile:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        return self


class Limits(Declared):
    """Stretch between two grey values, such as a layer's contrast limits."""

    kind: Literal["limits"] = "limits"
    low: float
    high: float


class CTWindow(Declared):
    """A CT window: `level` ± `width` / 2, in Hounsfield units."""

    kind: Literal["ct"] = "ct"
    level: float
    width: float = Field(gt=0)


Normalisation = Annotated[Percentile | Limits | CTWindow, Field(discriminator="kind")]


def doubts_of(sample: NDArray[Any]) -> str:
    """Say why grey values cannot be segmented.

    Parameters
    ----------
    sample : ndarray
        Grey values of any real dtype.

    Returns
    -------
    str
        Sentences to show; empty if nothing is wrong.
    """
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return "No pixel has a finite value, so that there is nothing to see."
    words = []
    if finite.size < sample.size:
        share = 100 * (1 - finite.size / sample.size)
        words.append(f"{share:.2g} % of the pixels are NaN or infinite; they count as darkest or brightest.")
    if finite.min() == finite.max():
        words.append(f"All pixels have the value {finite.min():g}, so that there is nothing to see.")
    return " ".join(words)


def to_uint8(array: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Map grey values to 8 bits, `low` to 0 and `high` to 255, clipped.

    Parameters
    ----------
    array : ndarray
        Grey values of any real dtype. NaN becomes 0, infinities the nearer end.
    low, high : float
        Where they are equal or not in order, everything becomes 0.
    """
    if not high > low:
        return np.zeros(array.shape, np.uint8)
    if array.dtype.kind in "bui" and array.dtype.itemsize <= 2:
        # Few different values: a table is exact and several times faster than arithmetic on the image.
        first = np.iinfo(array.dtype).min if array.dtype.kind == "i" else 0
        count = 2 if array.dtype.kind == "b" else 1 << (8 * array.dtype.itemsize)
        table = _scale(np.arange(first, first + count, dtype=np.float64), low, high)
        if array.dtype.kind == "i":
            return table[array.astype(np.int32) - first]
        return np.asarray(np.take(table, array))
    wide = np.float64 if array.dtype.itemsize > 4 or array.dtype.kind in "ui" else np.float32
    return _scale(array.astype(wide), low, high)


def _scale(array: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.clip((array - array.dtype.type(low)) * array.dtype.type(255.0 / (high - low)), 0, 255)
    return np.asarray(np.nan_to_num(scaled + 0.5, nan=0.0), dtype=np.uint8)

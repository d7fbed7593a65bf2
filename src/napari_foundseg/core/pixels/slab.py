"""Slabs: neighbouring slices that are projected for a model, as napari shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.errors import AxesError

__all__ = ["Slab", "project", "slab_in_words", "usual_slab_in_words"]

_WORDS = {"max": "Maximum", "min": "Minimum", "mean": "Mean", "sum": "Sum"}


class Slab(Declared):
    """Neighbouring slices to project: each slice is combined with those around it."""

    noun: ClassVar[str] = "slab"
    mode: Literal["max", "mean", "min", "sum"] = "max"
    """The projection."""
    margins: dict[str, tuple[float, float]] = Field(min_length=1)
    """Number of slices before and after the slice, by axis, such as ``{"Z": (2, 2)}`` for five slices."""

    @field_validator("margins")
    @classmethod
    def _checked(cls, value: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for axis, pair in value.items():
            if axis not in ("Z", "T", "Q") or not all(0 <= margin < np.inf for margin in pair):
                raise ValueError(f"an axis of slices (Z, T or Q) and two margins of 0 or more each, got {axis}: {pair}")
        return value

    def check_axes(self, slice_axes: str) -> None:
        """Raise `AxesError` if the image has no slices along an axis of the slab."""
        if missing := sorted(set(self.margins) - set(slice_axes)):
            raise AxesError(
                f"A slab along {', '.join(missing)} was given, but the image's axes of slices are: "
                f"{', '.join(slice_axes) or 'none'}."
            )

    def slices(self, axis: str, at: int, length: int) -> range:
        """Return the slices along an axis to project around a slice, by napari's own rule."""
        before, after = self.margins.get(axis, (0.0, 0.0))
        low = max(int(np.round(at - before)), 0)
        high = max(int(np.round(at + after)), 0)
        # `high` is excluded from the range: a margin that ends at the middle of a slice includes that slice.
        if np.isclose(high, at + after):
            high += 1
        return range(low, min(max(high, low + 1), length))

    def indices(self, index: Sequence[int], axes: str, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the indices of all slices to project around one."""
        return list(product(*(self.slices(axis, at, n) for axis, at, n in zip(axes, index, shape, strict=True))))


def project(slab: Slab, indices: Sequence[tuple[int, ...]], read: Callable[[tuple[int, ...]], NDArray[Any]]) -> Any:
    """Return the projection of slices, which are read one after the other. Mean and sum are float32."""
    first = read(indices[0])
    if len(indices) == 1:
        return first if slab.mode in ("max", "min") else first.astype(np.float32)
    if slab.mode in ("max", "min"):
        found = first.copy()
        for index in indices[1:]:
            (np.maximum if slab.mode == "max" else np.minimum)(found, read(index), out=found)
        return found
    total = first.astype(np.float64)
    for index in indices[1:]:
        total += read(index)
    return (total / (len(indices) if slab.mode == "mean" else 1)).astype(np.float32)


def slab_in_words(slab: Slab, index: Sequence[int], axes: str, shape: Sequence[int]) -> str:
    """Return the slab in words, such as ``Maximum of 5 slices along Z``; empty if it has a single slice."""
    counts = {axis: len(slab.slices(axis, at, n)) for axis, at, n in zip(axes, index, shape, strict=True)}
    several = [f"{count} slices along {axis}" for axis, count in counts.items() if count > 1]
    return f"{_WORDS[slab.mode]} of {' and '.join(several)}" if several else ""


def usual_slab_in_words(slab: Slab, lengths: Mapping[str, int] | None = None) -> str:
    """Return the slab in words for the middle of a stack with the given length along each axis."""
    axes = "".join(slab.margins)
    shape = [10**9 if lengths is None else lengths[axis] for axis in axes]
    return slab_in_words(slab, [length // 2 for length in shape], axes, shape)

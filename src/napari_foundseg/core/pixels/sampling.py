"""A sample of the pixels of an image, read once and used by all measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["flat", "is_flat", "sample_planes", "sampled_slices"]

#: Pixels to sample for percentiles: enough for 0.1 % accuracy, few enough to be read from a lazy stack.
_SAMPLE_PIXELS = 1 << 20
_SAMPLE_SLICES = 16


def sample_planes(
    sizes: Sequence[int],
    indices: Sequence[tuple[int, ...]],
    read: Callable[[int, tuple[int, ...]], NDArray[Any]],
    most: int = 0,
) -> tuple[list[NDArray[Any]], tuple[float, float]]:
    """Return slices, spread over a stack, with up to about a million pixels, and their least and greatest value.

    Parameters
    ----------
    sizes : sequence of int
        Number of pixels of a slice at each level of the pyramid.
    indices : sequence of tuple
        The indices of all slices.
    read : callable
        Returns the pixels of a slice, (M, N) or (M, N, C), from the number of its level and its index.
    most : int
        If not 0, return all pixels of as many slices as have at most this many pixels together.
    """
    level = max(i for i, size in enumerate(sizes) if i == 0 or size >= _SAMPLE_PIXELS // 4)
    slices = most // sizes[level] if most else _SAMPLE_SLICES
    if not slices:
        return [], (0.0, 1.0)
    chosen = [indices[i] for i in sampled_slices(len(indices), slices)]
    planes = _readable(chosen, lambda index: read(level, index))
    pixels = sum(p.shape[0] * p.shape[1] for p in planes)
    step = 1 if most else max(1, int(np.ceil(np.sqrt(pixels / _SAMPLE_PIXELS))))
    with np.errstate(invalid="ignore"):
        finite = [(p[np.isfinite(p)] if p.dtype.kind == "f" else p) for p in planes]
        ends = [(p.min(), p.max()) for p in finite if p.size]
    whole = (float(min(a for a, _ in ends)), float(max(b for _, b in ends))) if ends else (0.0, 1.0)
    return [p[::step, ::step] for p in planes], whole


def sampled_slices(count: int, slices: int = _SAMPLE_SLICES) -> NDArray[np.int64]:
    """Return the numbers of some of `count` slices, spread evenly."""
    return np.unique(np.linspace(0, count - 1, slices).round().astype(np.int64))


def _readable(
    indices: Sequence[tuple[int, ...]], read: Callable[[tuple[int, ...]], NDArray[Any]]
) -> list[NDArray[Any]]:
    """Return the slices that can be read; raise only if none can be.

    A task that uses an unreadable slice raises the error for it.
    """
    planes = []
    failed: Exception | None = None
    for index in indices:
        try:
            planes.append(read(index))
        except Exception as error:  # noqa: BLE001 - whatever a lazy array raises
            failed = error
    if not planes and failed is not None:
        raise failed
    return planes


def flat(planes: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return all values of some planes in one dimension."""
    return np.concatenate([np.ravel(plane) for plane in planes])


def is_flat(sample: NDArray[Any]) -> bool:
    """Tell whether all finite values are equal."""
    finite = sample[np.isfinite(sample)]
    return bool(finite.size) and finite.min() == finite.max()

"""The frames of a label image: its slices along time, each a plane or a volume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.errors import AxesError

__all__ = ["check_film", "film_frames", "frame_axes", "frame_pixel", "write_frames"]


def check_film(axes: str, shape: tuple[int, ...]) -> None:
    """Raise `AxesError` if a label image has no time axis, or has axes other than T, Z, Y and X."""
    if len(axes) != len(shape):
        raise AxesError(f"axes={axes!r} names {len(axes)} axes, but the labels have {len(shape)} (shape {shape}).")
    if "T" not in axes:
        raise AxesError(
            f"Tracks go along time, and the labels of shape {tuple(shape)} have no axis T (their axes: {axes}). Name "
            f"the axes, such as {'TZYX' if len(shape) == 4 else 'TYX'}."
        )
    if strange := sorted(set(axes) - set("TZYX")):
        raise AxesError(
            f"Tracks are made of axes T, Z, Y and X; the labels have {', '.join(strange)}, too (axes {axes}). Choose "
            "one slice of it."
        )


def frame_axes(axes: str) -> str:
    """Return the axes of a frame in the order of `film_frames`: ``ZYX`` or ``YX``."""
    return "".join(axis for axis in "ZYX" if axis in axes)


def film_frames(labels: Any, axes: str) -> Iterator[NDArray[Any]]:
    """Yield the frames of an array, NumPy or lazy. Of a lazy array, one frame is read at a time."""
    at = axes.index("T")
    rest = axes.replace("T", "")
    order = [rest.index(axis) for axis in frame_axes(axes)]
    for t in range(labels.shape[at]):
        yield in_memory(labels[(slice(None),) * at + (t,)]).transpose(order)


def write_frames(out: NDArray[Any], axes: str, frames: Iterable[NDArray[Any]]) -> None:
    """Write frames, as `film_frames` yields them, into an array with the given axes."""
    rest = axes.replace("T", "")
    order = [frame_axes(axes).index(axis) for axis in rest]
    planes = np.moveaxis(out, axes.index("T"), 0)
    for t, frame in enumerate(frames):
        planes[t] = frame.transpose(order)


def frame_pixel(axes: str, spacing: Mapping[str, float]) -> tuple[float, ...]:
    """Return the size of a pixel along each axis of a frame, in pixels of X; 1 where it is missing."""
    one = abs(spacing.get("X", 0.0) or spacing.get("Y", 0.0))
    if not one:
        return (1.0,) * len(frame_axes(axes))
    return tuple(abs(spacing.get(axis, one)) / one or 1.0 for axis in frame_axes(axes))

"""The letters that name the axes of an image."""

from __future__ import annotations

from collections.abc import Sequence

from napari_foundseg.core.errors import AxesError

__all__ = ["checked_axes", "default_axes"]

#: Axis letters: time, channel, depth, rows, columns; Q is a further axis of slices (tifffile's "other").
AXIS_LETTERS = "QTCZYX"


def default_axes(shape: Sequence[int]) -> str:
    """Return the axes of an array that comes without any.

    Returns
    -------
    str
        One letter an axis: a last axis of 3 or 4 is colour (C), otherwise leading axes are slices.

    Raises
    ------
    AxesError
        If there are fewer than two or more than five axes.
    """
    shape = tuple(shape)
    colour = len(shape) > 2 and shape[-1] in (3, 4)
    slices = len(shape) - 2 - colour
    if not 0 <= slices <= 3 or len(shape) > 5:
        raise AxesError(
            f"An image has 2 to 5 axes, got {len(shape)} (shape {shape}). "
            "Select a part of the array, or name its axes, such as axes='TZYX'."
        )
    return "QTZ"[3 - slices :] + "YX" + "C" * colour


def checked_axes(axes: str | None, shape: Sequence[int]) -> str:
    """Return the axes of an array.

    Parameters
    ----------
    axes : str or None
        Given by the user, in any case; None for `default_axes`.

    Raises
    ------
    AxesError
        If they do not fit the array.
    """
    if axes is None:
        return default_axes(shape)
    axes = axes.upper()
    if len(axes) != len(shape):
        raise AxesError(f"axes={axes!r} names {len(axes)} axes, but the array has {len(shape)} (shape {tuple(shape)}).")
    if len(set(axes)) != len(axes) or not set(axes) <= set(AXIS_LETTERS) or not {"Y", "X"} <= set(axes):
        raise AxesError(f"axes={axes!r}: use each letter of {AXIS_LETTERS} at most once, Y and X always.")
    return axes

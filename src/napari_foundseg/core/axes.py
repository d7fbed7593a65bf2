"""The letters that name the axes of an image."""

from __future__ import annotations

from collections.abc import Sequence

from napari_foundseg.core.errors import AxesError

__all__ = ["checked_axes", "default_axes", "ends_in_channels"]

#: Axis letters: time, channel, depth, rows, columns. Q is another axis of slices (tifffile's "other").
AXIS_LETTERS = "QTCZYX"
#: A picture whose last axis is channels has more rows and columns than this.
_NARROW = 4


def default_axes(shape: Sequence[int]) -> str:
    """Return the default axes of an array of the given shape.

    Returns
    -------
    str
        One letter an axis. A last axis of length 3 or 4 is colour (C). So is a last axis of length 1 or 2 after two
        larger ones, since no picture is so narrow. Leading axes are slices.

    Raises
    ------
    AxesError
        If there are fewer than two or more than five axes.
    """
    shape = tuple(shape)
    colour = len(shape) > 2 and (shape[-1] in (3, 4) or ends_in_channels(shape))
    slices = len(shape) - 2 - colour
    if not 0 <= slices <= 3 or len(shape) > 5:
        raise AxesError(
            f"An image has 2 to 5 axes, got {len(shape)} (shape {shape}). "
            "Select a part of the array, or name its axes, such as axes='TZYX'."
        )
    return "QTZ"[3 - slices :] + "YX" + "C" * colour


def ends_in_channels(shape: Sequence[int]) -> bool:
    """Tell whether the last axis has length 1 or 2 and holds channels, since no picture is so narrow."""
    return len(shape) > 2 and shape[-1] in (1, 2) and min(shape[-3], shape[-2]) > _NARROW


def checked_axes(axes: str | None, shape: Sequence[int]) -> str:
    """Return the axes of an array as uppercase letters.

    Parameters
    ----------
    axes : str or None
        The user's axes, in any case; None for `default_axes`.

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

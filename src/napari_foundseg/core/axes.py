"""The letters that name the axes of an image, and the names of its channels."""

from __future__ import annotations

from collections.abc import Sequence

from napari_foundseg.core.errors import AxesError

__all__ = ["channel_number", "channels_in_words", "checked_axes", "default_axes", "ends_in_channels"]

#: Axis letters: time, channel, depth, rows, columns; Q is a further axis of slices (tifffile's "other").
AXIS_LETTERS = "QTCZYX"
#: Rows and columns of a picture with channels behind them are more than these.
_NARROW = 4


def default_axes(shape: Sequence[int]) -> str:
    """Return the axes of an array that comes without any.

    Returns
    -------
    str
        One letter an axis: a last axis of 3 or 4 is colour (C), and so is one of 1 or 2 behind larger ones, since no
        picture is so narrow. Otherwise leading axes are slices.

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
    """Tell whether the last axis, of one or two, holds channels, since no picture is so narrow."""
    return len(shape) > 2 and shape[-1] in (1, 2) and min(shape[-3], shape[-2]) > _NARROW


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


def channel_number(name: int | str, names: Sequence[str], count: int) -> int:
    """Return the number of a channel that is given by number or name, as `Image.channel_numbers` describes.

    Raises
    ------
    AxesError
        If no channel, or more than one, has such a name.
    """
    if isinstance(name, int):
        return name
    wanted = name.strip()
    if wanted.isdecimal() and int(wanted) < count:
        return int(wanted)
    known = [other.strip() for other in names]
    found = [i for i, other in enumerate(known) if other == wanted] or [
        i for i, other in enumerate(known) if other.casefold() == wanted.casefold()
    ]
    if not found and wanted.isdecimal():
        return int(wanted)
    if len(found) != 1:
        available = ", ".join(map(repr, known)) or "no names, only numbers from 0"
        how = "several channels are" if found else "no channel is"
        raise AxesError(f"{how} named {name!r}; the channels of this image have {available}.")
    return found[0]


def channels_in_words(used: Sequence[int], names: Sequence[str], count: int) -> str:
    """Return channels in words, counted from 1, such as ``channel 1 of 3 (DAPI)``."""
    numbers = ", ".join(str(channel + 1) for channel in used)
    named = ", ".join(names[channel].strip() for channel in used if channel < len(names) and names[channel].strip())
    return f"channel{'s' * (len(used) > 1)} {numbers} of {count}{f' ({named})' if named else ''}"

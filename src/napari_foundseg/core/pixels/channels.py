"""The channels of an image: their names, the default ones, and a choice of them in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_foundseg.core.errors import AxesError

__all__ = [
    "COLOURS",
    "DefaultChannels",
    "channel_number",
    "channels_in_words",
    "checked_channels",
    "default_channels",
    "is_rgb",
]

#: Names of the channels of an RGB(A) picture.
COLOURS = ("red", "green", "blue", "alpha")


class DefaultChannels(tuple[int, ...]):
    """Default channels, not chosen by the user. They are equal to the same channels chosen by the user."""

    __slots__ = ()


def is_rgb(axes: str, count: int) -> bool:
    """Tell whether the last axis is three or four channels: red, green, blue and perhaps alpha."""
    return axes.endswith("C") and count in (3, 4)


def default_channels(axes: str, count: int) -> DefaultChannels:
    """Return the default channels: RGB, else the first channel; empty without a channel axis."""
    return DefaultChannels(() if "C" not in axes else (0, 1, 2) if is_rgb(axes, count) else (0,))


def checked_channels(chosen: Any, axes: str, names: Sequence[str], count: int) -> tuple[int, ...]:
    """Return chosen channels as numbers; without a choice, the default channels.

    Raises
    ------
    AxesError
        If the image has no such channels.
    """
    if "C" not in axes and chosen not in (None, ()) and not isinstance(chosen, DefaultChannels):
        raise AxesError(f"channels={chosen} was given, but axes {axes!r} have no channel axis C.")
    if "C" not in axes or chosen is None or isinstance(chosen, DefaultChannels):
        return default_channels(axes, count)
    given = chosen if isinstance(chosen, tuple) else (chosen,)
    channels = tuple(channel_number(name, names, count) for name in given)
    if not 1 <= len(channels) <= 3 or not all(0 <= c < count for c in channels):
        raise AxesError(f"channels={chosen}: choose one to three of the {count} channels, 0 to {count - 1}.")
    return channels


def channel_number(name: int | str, names: Sequence[str], count: int) -> int:
    """Return the number of a channel, given by number or name as `Image.channel_numbers` describes.

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

"""`Image`: an array with axes, normalisation, spacing and units, read slice by slice.

Everything a model sees passes through `Image.rgb`: 8-bit RGB of one slice, from any dtype, number of
axes or lazy array, so that the same picture is handed over by the window, Python and the command line.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.axes import checked_axes
from napari_foundseg.core.contrast import AsIs, CTWindow, Limits, MinMax, Percentile, to_uint8
from napari_foundseg.core.errors import AxesError, BadImageError
from napari_foundseg.core.pixels.array_checks import as_array, check_dtype, check_levels, is_pyramid
from napari_foundseg.core.pixels.channels import (
    COLOURS,
    DefaultChannels,
    channel_number,
    channels_in_words,
    checked_channels,
    default_channels,
    is_rgb,
)
from napari_foundseg.core.pixels.colour import ColourRule, FoundColour, find_colour
from napari_foundseg.core.pixels.measured_array import MeasuredArray
from napari_foundseg.core.pixels.reading import read_slice
from napari_foundseg.core.pixels.sampling import flat, sample_planes
from napari_foundseg.core.pixels.slab import Slab, project

__all__ = ["Image"]


@dataclass(frozen=True, eq=False)
class Image(MeasuredArray):
    """Pixels with their axes, spacing and source. Immutable: for changed pixels, make a new one.

    Parameters
    ----------
    data : array-like or sequence of array-like
        NumPy, dask or zarr array of any real dtype; a list of arrays is a pyramid, finest first.
    axes : str, optional
        One letter of ``QTCZYX`` for every axis of `data`, such as ``"ZYX"`` or ``"YXC"``. By default a last
        axis of 3 or 4 is RGB(A) and leading axes are slices.
    channels : int or str, or tuple of these, optional
        Which one to three channels become grey, or red, green and blue, by number from 0 or by name (see
        `channel_numbers`). By default the first channel, but of three or four channels that come last RGB: where a
        model expects grey pictures, tasks then take the one channel that holds the picture, if `found_colour` is one
        colour or dyes on black. The attribute holds numbers.
    normalisation : Percentile or AsIs or MinMax or Limits or CTWindow, optional
        How grey values become 8 bits. By default as the model that a task runs with expects; where no model is known,
        as `Percentile()`.
    spacing : mapping of str to float
        Size of a pixel along each axis, such as ``{"Z": 2.0, "Y": 0.5, "X": 0.5}``; 1 where absent.
    units : mapping of str to str
        Unit of each spacing, such as ``{"Y": "µm"}``; pixels where absent.
    source : str, optional
        The file the pixels come from.
    channel_names : tuple of str
        Names of all channels in their order, where they have any.
    notes : tuple of str
        What was chosen, left out or not applied when the image was read, one sentence each, for the user.
    colour : FoundColour, optional
        What the colours of an RGB image are, where that is known already; else it is measured when it is needed.
    whole : Image, optional
        The stack that a single slice was taken from: its colours and grey values are those of all slices.
    slab : Slab, optional
        Neighbouring slices that are projected, such as ``Slab(mode="max", margins={"Z": (2, 2)})``: wherever a slice is
        read, its projection is.

    Raises
    ------
    AxesError
        If the axes do not fit the array.
    BadImageError
        If there are no pixels.
    DTypeError
        If the pixels are complex, text, structured or Python objects.
    """

    data: Any
    axes: str | None = None
    channels: int | str | tuple[int | str, ...] | None = None
    normalisation: Percentile | AsIs | MinMax | Limits | CTWindow | None = None
    spacing: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    colour: FoundColour | None = None
    whole: Image | None = None
    slab: Slab | None = None

    def __post_init__(self) -> None:
        levels = tuple(self.data) if isinstance(self.data, list | tuple) and is_pyramid(self.data) else (self.data,)
        levels = tuple(level if hasattr(level, "shape") else as_array(level) for level in levels)
        object.__setattr__(self, "levels", levels)
        array = levels[0]
        if len(array.shape) < 2 and self.axes is None:
            raise AxesError(f"An image has at least rows and columns, got shape {tuple(array.shape)}.")
        check_dtype(np.dtype(array.dtype))
        object.__setattr__(self, "axes", checked_axes(self.axes, array.shape))
        if 0 in array.shape:
            raise BadImageError(self.source, f"the image has no pixels (shape {tuple(array.shape)})")
        check_levels(levels, self._axes, self.source)
        channels = checked_channels(self.channels, self._axes, self._names_of_channels, self._count)
        object.__setattr__(self, "channels", channels)
        if self.slab is not None:
            self.slab.check_axes(self.slice_axes)

    levels: tuple[Any, ...] = field(init=False, repr=False)

    @property
    def chosen_channels(self) -> tuple[int, ...]:
        """Numbers of the channels that are used; none where the image has no channel axis."""
        return self.channels if isinstance(self.channels, tuple) else ()  # type: ignore[return-value] # numbers

    @property
    def is_rgb(self) -> bool:
        """Whether the channels are red, green and blue, and alpha perhaps: three or four that come last."""
        return is_rgb(self._axes, self._count)

    @property
    def chooses_channels(self) -> bool:
        """Whether somebody has chosen the channels that are used: they are neither the default ones nor measured."""
        return not (isinstance(self.channels, DefaultChannels) or self.measured_channels)

    @property
    def measured_channels(self) -> bool:
        """Whether the channels that are used are those that the colours of the image have given."""
        return self.colour is not None and self.colour.channels == self.chosen_channels

    @property
    def channel_choice(self) -> str:
        """The channels that are used, such as ``channel 1 of 3 (DAPI)``; empty where there is no choice."""
        # Colours of an RGB image are no channels to choose among, unless some of them were chosen.
        if (self.is_rgb and self.chosen_channels == (0, 1, 2)) or self._count < 2:
            return ""
        if self.colour is not None and self.measured_channels:
            return self.colour.words
        return channels_in_words(self.chosen_channels, self._names_of_channels, self._count)

    @property
    def found_colour(self) -> FoundColour | None:
        """What the colours of an RGB image are, measured once on a sample of the stack; None where it is not RGB."""
        return self.colour if self.colour is not None or not self.is_rgb else self._measured_colour

    @cached_property
    def _measured_colour(self) -> FoundColour:
        every = tuple(range(self._count))
        return find_colour(self._planes(channels=every)[0]) if self.whole is None else self.whole._measured_colour

    def seen_as(self, expected: Percentile | AsIs | MinMax | Limits | CTWindow, colour: ColourRule = "RGB") -> Image:
        """Return the image as a model expects it, unless a normalisation or channels were chosen for it.

        Parameters
        ----------
        expected : Percentile or AsIs or MinMax or Limits or CTWindow
            The normalisation that the model expects.
        colour : {'RGB', 'grey', 'one dye'}
            What the model makes of an RGB image. RGB: it wants all three channels. Grey: pictures of one colour are
            grey. One dye: of several dyes on black, one is used as a grey picture, too.

        Returns
        -------
        Image
            Itself where both were chosen, or where percentiles and RGB are expected, which is the default.
        """
        measures = colour != "RGB" and self.is_rgb and isinstance(self.channels, DefaultChannels)
        normalises = self.normalisation is None and expected != Percentile()
        if not measures and not normalises:
            return self
        # The same object each time, since hashes of pixels are kept by object.
        seen: dict[Any, Image] = vars(self).setdefault("_seen", {})
        key = repr(expected), colour if measures else "RGB"
        if key not in seen:
            seen[key] = self._seen_as(expected if self.normalisation is None else self.normalisation, colour, measures)
        return seen[key]

    def _seen_as(
        self, normalisation: Percentile | AsIs | MinMax | Limits | CTWindow, colour: ColourRule, measures: bool
    ) -> Image:
        if not measures or self.found_colour is None:
            return replace(self, normalisation=normalisation)
        found = self.found_colour.used_as(colour)
        if self.whole is not None:
            low, high = self.whole.seen_as(normalisation, colour).limits
            normalisation = Limits(low=low, high=high)
        return replace(self, channels=found.channels, normalisation=normalisation, colour=found)

    def at_level(self, number: int) -> Image:
        """Return a level of the pyramid as an image of its own.

        Parameters
        ----------
        number : int
            One of `usable_levels`; 0 is the finest.

        Returns
        -------
        Image
            With the spacing of its larger pixels; it has no source, since the file holds other pixels.
        """
        if number == 0:
            return self
        rest = self.levels[number:]
        spacing = {
            axis: size * self._size(axis) / rest[0].shape[self._axes.index(axis)] for axis, size in self.spacing.items()
        }
        return replace(self, data=list(rest) if len(rest) > 1 else rest[0], spacing=spacing, source=None)

    def raw(self, index: tuple[int, ...] = (), box: tuple[int, int, int, int] | None = None) -> NDArray[Any]:
        """Return the pixels of one slice, or of a box in it, as they are.

        Parameters
        ----------
        index : tuple of int
            The slice, one number for each of `slice_axes`.
        box : tuple of int, optional
            First and last row and column, (y0, x0, y1, x1), both included.

        Returns
        -------
        (M, N) or (M, N, C) ndarray
            With C = 3 where three channels were chosen.
        """
        return self._read(0, index, box)

    def rgb(self, index: tuple[int, ...] = (), box: tuple[int, int, int, int] | None = None) -> NDArray[np.uint8]:
        """Return one slice, or a box in it, as the 8-bit RGB picture that models see.

        Parameters
        ----------
        index : tuple of int
            The slice, one number for each of `slice_axes`.
        box : tuple of int, optional
            First and last row and column, (y0, x0, y1, x1), both included.

        Returns
        -------
        (M, N, 3) ndarray of uint8
            Grey images have three equal channels.
        """
        limits = self.limits_of(index)
        grey = to_uint8(self._without_burnt_in(self.raw(index, box)), *limits)
        if grey.ndim == 2:
            grey = grey[..., None]
        if grey.shape[-1] == 2:
            grey = np.concatenate([grey, np.zeros_like(grey[..., :1])], axis=-1)
        return np.ascontiguousarray(grey if grey.shape[-1] == 3 else np.repeat(grey, 3, axis=-1))

    def channel_numbers(self, chosen: int | str | tuple[int | str, ...] | None) -> tuple[int, ...] | None:
        """Return channels given by name or number in the form that `channels` takes.

        Parameters
        ----------
        chosen : int or str or tuple of int or str, or None
            Case is ignored unless two names differ in case only. Text that is the number of a channel, such as ``"2"``,
            is that number, even if another channel has this name. Those of an RGB image are called red, green, blue
            and alpha.

        Returns
        -------
        tuple of int or None
            None for None: the channels that `Image` takes by default.

        Raises
        ------
        AxesError
            If no channel, or more than one, has such a name.
        """
        if chosen is None:
            return None
        names = chosen if isinstance(chosen, tuple) else (chosen,)
        return tuple(channel_number(name, self._names_of_channels, self._count) for name in names)

    def describes_as(self, other: Image) -> bool:
        """Tell whether another image shows the very same array in the same way.

        Parameters
        ----------
        other : Image
            The other.

        Returns
        -------
        bool
            True where everything but the pixels, which are not compared, is equal.
        """
        same = len(self.levels) == len(other.levels) and all(map(operator.is_, self.levels, other.levels))
        named = ("axes", "channels", "chooses_channels", "normalisation", "slab", "spacing", "units", "source",
                 "channel_names")  # fmt: skip
        return same and all(getattr(self, name) == getattr(other, name) for name in named)

    def fingerprint(self) -> str:
        """Return a hash of dtype, shape and a sample of the pixels.

        Returns
        -------
        str
            Equal for equal content, whatever the memory layout; cheap on a lazy array.
        """
        return self._fingerprint

    def only_channel(self) -> Image:
        """Return an image of the one chosen channel of several.

        Returns
        -------
        Image
            It has no channel axis and no source; the image itself where no single channel was chosen.
        """
        if not self.channel_choice or len(self.chosen_channels) != 1:
            return self
        at = self._axes.index("C")
        part = (slice(None),) * at + self.chosen_channels
        levels = [level[part] for level in self.levels]
        axes = self.label_axes
        data = levels if len(levels) > 1 else levels[0]
        return replace(self, data=data, axes=axes, channels=None, source=None, channel_names=(), colour=None)

    def identity(self) -> str:
        """Return the fingerprint of the pixels with the default channels.

        Returns
        -------
        str
            The same whichever channels are used, and with and without a slab: whose objects they are does not depend on
            that.
        """
        return self._identity

    @cached_property
    def _identity(self) -> str:
        default = default_channels(self._axes, self._count)
        plain = self if self.chosen_channels == default else replace(self, channels=None)
        return plain.fingerprint()

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self.dtype.str[1:]} {self._axes} {self.shape} {self.chosen_channels}".encode())
        # Of the slices as they are: whoever compares pixels need not know how they are seen.
        sample = self.without_slab()._sample()
        digest.update(sample.astype(sample.dtype.newbyteorder("="), copy=False).tobytes())
        return digest.hexdigest()

    @property
    def _names_of_channels(self) -> tuple[str, ...]:
        return tuple(self.channel_names) or (COLOURS[: self._count] if self.is_rgb else ())

    def _read(
        self,
        level: int,
        index: tuple[int, ...],
        box: tuple[int, int, int, int] | None,
        channels: tuple[int, ...] | None = None,
    ) -> NDArray[Any]:
        chosen = self.chosen_channels if channels is None else channels
        if self.slab is None or len(index) != len(self.slice_axes):
            return read_slice(self.levels[level], self._axes, index, box, chosen)
        around = self.slab.indices(index, self.slice_axes, self.slice_shape) or [index]
        projected: NDArray[Any] = project(
            self.slab, around, lambda one: read_slice(self.levels[level], self._axes, one, box, chosen)
        )
        return projected

    def without_slab(self) -> Image:
        """Return the image with its slices as they are.

        Returns
        -------
        Image
            Itself where it has no slab.
        """
        return self if self.slab is None else replace(self, slab=None)

    def _sample(self) -> NDArray[Any]:
        """Return up to about a million pixels, spread over the slices of a coarse enough level."""
        return flat(self._planes()[0])

    def _planes(
        self, most: int = 0, channels: tuple[int, ...] | None = None
    ) -> tuple[list[NDArray[Any]], tuple[float, float]]:
        """Return a sample, as `sample_planes` does, of the chosen channels or of others."""
        at = self._axes.index("Y"), self._axes.index("X")
        sizes = [int(level.shape[at[0]] * level.shape[at[1]]) for level in self.levels]
        return sample_planes(
            sizes, list(self.indices()), lambda level, index: self._read(level, index, None, channels), most
        )

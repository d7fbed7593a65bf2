"""`Image`: an array with axes, normalisation, spacing and units, read slice by slice.

Every picture for a model comes from `Image.rgb`: 8-bit RGB of one slice, from any dtype, number of axes or lazy array.
So the window, Python and the command line all hand over the same picture.
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
    """Pixels with their axes, spacing and source. Immutable: make a new image for changed pixels.

    Parameters
    ----------
    data : array-like or sequence of array-like
        NumPy, dask or zarr array of any real dtype; a list of arrays is a pyramid, finest first.
    axes : str, optional
        One letter of ``QTCZYX`` for every axis of `data`, such as ``"ZYX"`` or ``"YXC"``. By default a last
        axis of 3 or 4 is RGB(A) and leading axes are slices.
    channels : int or str, or tuple of these, optional
        The one to three channels that become grey, or red, green and blue, by number from 0 or by name (see
        `channel_numbers`). By default the first channel; where three or four channels are the last axis, RGB. For a
        model that expects grey pictures, tasks then use the one channel that holds the picture, if `found_colour` is
        one colour or dyes on black. The attribute holds numbers.
    normalisation : Percentile or AsIs or MinMax or Limits or CTWindow, optional
        How grey values become 8 bits. By default as the task's model expects; without a model, as `Percentile()`.
    spacing : mapping of str to float
        Size of a pixel along each axis, such as ``{"Z": 2.0, "Y": 0.5, "X": 0.5}``; 1 where absent.
    units : mapping of str to str
        Unit of each spacing, such as ``{"Y": "µm"}``; pixels where absent.
    source : str, optional
        The file that the pixels come from.
    channel_names : tuple of str
        Names of all channels in their order; empty if they have none.
    notes : tuple of str
        Sentences for the user about choices and omissions when the image was read.
    colour : FoundColour, optional
        The kind of colours of an RGB image, if already measured; otherwise it is measured when needed.
    whole : Image, optional
        The stack that a single slice was taken from. Colours and grey values are then measured on the stack.
    slab : Slab, optional
        Neighbouring slices to project, such as ``Slab(mode="max", margins={"Z": (2, 2)})``. Reading a slice then
        returns its projection.

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
        """Numbers of the channels that are used; empty if the image has no channel axis."""
        return self.channels if isinstance(self.channels, tuple) else ()  # type: ignore[return-value] # numbers

    @property
    def is_rgb(self) -> bool:
        """Whether the last axis is three or four channels: red, green, blue and perhaps alpha."""
        return is_rgb(self._axes, self._count)

    @property
    def chooses_channels(self) -> bool:
        """Whether the user has chosen the channels: they are neither the default ones nor measured."""
        return not (isinstance(self.channels, DefaultChannels) or self.measured_channels)

    @property
    def measured_channels(self) -> bool:
        """Whether the channels that are used follow from the measured colours of the image."""
        return self.colour is not None and self.colour.channels == self.chosen_channels

    @property
    def channel_choice(self) -> str:
        """The channels that are used, such as ``channel 1 of 3 (DAPI)``; empty if there is no choice."""
        # The colours of an RGB image are not a choice of channels, unless some of them were chosen.
        if (self.is_rgb and self.chosen_channels == (0, 1, 2)) or self._count < 2:
            return ""
        if self.colour is not None and self.measured_channels:
            return self.colour.words
        return channels_in_words(self.chosen_channels, self._names_of_channels, self._count)

    @property
    def found_colour(self) -> FoundColour | None:
        """The kind of colours of an RGB image, measured once on a sample of the stack; None if it is not RGB."""
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
            How the model uses an RGB image. RGB: it needs all three channels. Grey: a picture of one colour becomes
            grey. One dye: also, one of several dyes on black becomes a grey picture.

        Returns
        -------
        Image
            The image itself if both were chosen, or if the model expects percentiles and RGB, which is the default.
        """
        measures = colour != "RGB" and self.is_rgb and isinstance(self.channels, DefaultChannels)
        normalises = self.normalisation is None and expected != Percentile()
        if not measures and not normalises:
            return self
        # Return the same object each time, since hashes of pixels are cached by object.
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
        """Return a level of the pyramid as a separate image.

        Parameters
        ----------
        number : int
            One of `usable_levels`; 0 is the finest.

        Returns
        -------
        Image
            An image with the spacing of its larger pixels. It has no source, since the file's own pixels are finer.
        """
        if number == 0:
            return self
        rest = self.levels[number:]
        spacing = {
            axis: size * self._size(axis) / rest[0].shape[self._axes.index(axis)] for axis, size in self.spacing.items()
        }
        return replace(self, data=list(rest) if len(rest) > 1 else rest[0], spacing=spacing, source=None)

    def raw(self, index: tuple[int, ...] = (), box: tuple[int, int, int, int] | None = None) -> NDArray[Any]:
        """Return the pixels of one slice, or of a box in it, unchanged.

        Parameters
        ----------
        index : tuple of int
            The slice, one number for each of `slice_axes`.
        box : tuple of int, optional
            First and last row and column, (y0, x0, y1, x1), both included.

        Returns
        -------
        (M, N) or (M, N, C) ndarray
            The last axis holds the chosen channels if there are several.
        """
        return self._read(0, index, box)

    def rgb(self, index: tuple[int, ...] = (), box: tuple[int, int, int, int] | None = None) -> NDArray[np.uint8]:
        """Return one slice, or a box in it, as the 8-bit RGB picture for a model.

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
        """Return numbers of channels given by name or number, in the form of the attribute `channels`.

        Parameters
        ----------
        chosen : int or str or tuple of int or str, or None
            Case is ignored unless two names differ in case only. Text that is the number of a channel, such as ``"2"``,
            means that number, even if another channel has this name. The channels of an RGB image are named red,
            green, blue and alpha.

        Returns
        -------
        tuple of int or None
            None for None, which means the default channels.

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
            The image to compare with.

        Returns
        -------
        bool
            True if both hold the same array objects and all other fields are equal. Pixels are not compared.
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
            Equal for equal content, whatever the memory layout. Cheap for a lazy array.
        """
        return self._fingerprint

    def only_channel(self) -> Image:
        """Return an image of the single chosen channel.

        Returns
        -------
        Image
            An image without a channel axis and source; the image itself if no single channel of several was chosen.
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
            Independent of the chosen channels and of a slab, since neither changes which image the objects belong to.
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
        # Hash the slices without a slab: whoever compares pixels need not know how they are projected.
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
        """Return the image with its slices not projected.

        Returns
        -------
        Image
            The image itself if it has no slab.
        """
        return self if self.slab is None else replace(self, slab=None)

    def _sample(self) -> NDArray[Any]:
        """Return up to about a million pixels, spread over the slices of a sufficiently coarse level."""
        return flat(self._planes()[0])

    def _planes(
        self, most: int = 0, channels: tuple[int, ...] | None = None
    ) -> tuple[list[NDArray[Any]], tuple[float, float]]:
        """Return a sample from `sample_planes`, of the chosen channels or of `channels`."""
        at = self._axes.index("Y"), self._axes.index("X")
        sizes = [int(level.shape[at[0]] * level.shape[at[1]]) for level in self.levels]
        return sample_planes(
            sizes, list(self.indices()), lambda level, index: self._read(level, index, None, channels), most
        )

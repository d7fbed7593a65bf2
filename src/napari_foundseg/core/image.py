"""`Image`: an array with axes, normalisation, spacing and units, read slice by slice.

Everything a model sees passes through `Image.rgb`: 8-bit RGB of one slice, from any dtype, number of
axes or lazy array, so that the same picture is handed over by the window, Python and the command line.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.arrays import in_memory, is_next_level
from napari_foundseg.core.axes import channel_number, channels_in_words, checked_axes
from napari_foundseg.core.contrast import (
    AsIs,
    CTWindow,
    FoundLimits,
    Limits,
    MinMax,
    Percentile,
    describe_normalisation,
    doubts_of,
    find_limits,
    to_uint8,
)
from napari_foundseg.core.errors import AxesError, BadImageError, DTypeError
from napari_foundseg.core.labels import plane_view

__all__ = ["Image"]

#: Pixels looked at for percentiles: enough for 0.1 % accuracy, few enough to be read from a lazy stack.
_SAMPLE_PIXELS = 1 << 20
_SAMPLE_SLICES = 16
#: Pixels read where the sample shows one value only.
_MOST_PIXELS = 1 << 26


@dataclass(frozen=True, eq=False)
class Image:
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
        `channel_numbers`). By default RGB for three or four channels that come last, otherwise the first channel. The
        attribute holds numbers.
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

    def __post_init__(self) -> None:
        levels = tuple(self.data) if isinstance(self.data, list | tuple) and _is_pyramid(self.data) else (self.data,)
        levels = tuple(level if hasattr(level, "shape") else _as_array(level) for level in levels)
        object.__setattr__(self, "levels", levels)
        array = levels[0]
        if len(array.shape) < 2 and self.axes is None:
            raise AxesError(f"An image has at least rows and columns, got shape {tuple(array.shape)}.")
        _check_dtype(np.dtype(array.dtype))
        object.__setattr__(self, "axes", checked_axes(self.axes, array.shape))
        if 0 in array.shape:
            raise BadImageError(self.source, f"the image has no pixels (shape {tuple(array.shape)})")
        _check_levels(levels, self._axes, self.source)
        object.__setattr__(self, "channels", self._checked_channels())

    levels: tuple[Any, ...] = field(init=False, repr=False)

    @property
    def _axes(self) -> str:
        assert self.axes is not None
        return self.axes

    @property
    def dtype(self) -> np.dtype[Any]:
        """The pixels' dtype."""
        dtype: np.dtype[Any] = np.dtype(self.levels[0].dtype)
        return dtype

    @property
    def label_axes(self) -> str:
        """The axes of a label image of this image: all but the channels, in the array's order."""
        return self._axes.replace("C", "")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a label image of this image."""
        return tuple(n for n, axis in zip(self.levels[0].shape, self._axes, strict=True) if axis != "C")

    @property
    def slice_axes(self) -> str:
        """The axes along which the image is cut into slices, in the array's order."""
        return self.label_axes.replace("Y", "").replace("X", "")

    @property
    def slice_shape(self) -> tuple[int, ...]:
        """Number of slices along each of `slice_axes`."""
        return tuple(self._size(axis) for axis in self.slice_axes)

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Rows and columns of one slice."""
        return self._size("Y"), self._size("X")

    @property
    def chosen_channels(self) -> tuple[int, ...]:
        """Numbers of the channels that are used; none where the image has no channel axis."""
        return self.channels if isinstance(self.channels, tuple) else ()  # type: ignore[return-value] # numbers

    @property
    def channel_choice(self) -> str:
        """The channels that are used, such as ``channel 1 of 3 (DAPI)``; empty where there is no choice."""
        # Colours of an RGB image are no channels to choose among, unless some of them were chosen.
        count = self._size("C") if "C" in self._axes else 1
        rgb = self._axes.endswith("C") and count in (3, 4) and self.chosen_channels == (0, 1, 2)
        return "" if rgb or count < 2 else channels_in_words(self.chosen_channels, self.channel_names, count)

    @property
    def usable_levels(self) -> list[int]:
        """Levels of the pyramid that have as many slices and channels as the finest one, which is the first."""
        fixed = [i for i, axis in enumerate(self._axes) if axis not in "YX"]
        sizes = [[level.shape[i] for i in fixed] for level in self.levels]
        return [number for number, size in enumerate(sizes) if size == sizes[0]]

    def seen_as(self, expected: Percentile | AsIs | MinMax | Limits | CTWindow) -> Image:
        """Return the image as a model expects it, unless a normalisation was chosen for it.

        Parameters
        ----------
        expected : Percentile or AsIs or MinMax or Limits or CTWindow
            What the model expects.

        Returns
        -------
        Image
            Itself where a normalisation was chosen, or where percentiles are expected, which is the default.
        """
        if self.normalisation is not None or expected == Percentile():
            return self
        # The same object each time, since hashes of pixels are kept by object.
        seen: dict[Any, Image] = vars(self).setdefault("_seen", {})
        key = repr(expected)
        if key not in seen:
            seen[key] = replace(self, channels=self.channels or None, normalisation=expected)
        return seen[key]

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
        channels = self.channels or None
        return replace(
            self, data=list(rest) if len(rest) > 1 else rest[0], channels=channels, spacing=spacing, source=None
        )

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Iterate over all slices.

        Yields
        ------
        tuple of int
            One index for each of `slice_axes`; the empty tuple for a single image.
        """
        yield from product(*(range(n) for n in self.slice_shape))

    @property
    def is_photograph(self) -> bool:
        """Whether the pixels are 8-bit RGB, all three colours in their order."""
        return self.dtype == np.uint8 and self._axes.endswith("C") and self.channels == (0, 1, 2)

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The grey values that become 0 and 255, equal over the whole stack."""
        norm = self.normalisation
        if isinstance(norm, Limits):
            return norm.low, norm.high
        if isinstance(norm, CTWindow):
            return norm.level - norm.width / 2, norm.level + norm.width / 2
        if isinstance(norm, AsIs) and self.is_photograph:
            return 0.0, 255.0
        return (0.0, 1.0) if self.dtype == bool else (self._measured[0].low, self._measured[0].high)

    @property
    def doubts(self) -> str:
        """What is odd about the grey values, such as one value everywhere, or limits that were mended; may be empty."""
        found, doubts = self._measured
        return " ".join(filter(None, (doubts, found.mended)))

    @property
    def known_doubts(self) -> str:
        """The `doubts` where no pixel of a lazy array must be read for them that `limits` do not need; else empty."""
        measured = not isinstance(self.normalisation, Limits | CTWindow | AsIs) or "_measured" in vars(self)
        return self.doubts if measured or isinstance(self.levels[0], np.ndarray) else ""

    @property
    def suspicion(self) -> str:
        """What may be wrong with the contrast, to be said where nothing is found; empty where nothing is odd."""
        return self._measured[0].suspicion

    @cached_property
    def _measured(self) -> tuple[FoundLimits, str]:
        """Limits and doubts, of one sample."""
        planes, whole = self._planes()
        sample = _flat(planes)
        norm = self.normalisation
        if _is_flat(sample) and (more := self._planes(_MOST_PIXELS)[0]):
            # An object may be in the slices, or between the pixels, that were not looked at.
            planes = more
            sample = _flat(planes)
        doubts = doubts_of(sample)
        if not np.isfinite(sample).any() or self.dtype == bool:
            return FoundLimits(0.0, 1.0), doubts
        if isinstance(norm, Limits | CTWindow) or (isinstance(norm, AsIs) and self.is_photograph):
            return FoundLimits(*self.limits), " ".join(filter(None, (doubts, self._flatness(sample))))
        if isinstance(norm, MinMax):
            found = find_limits(planes, 0, 100)
            least, greatest = (float(value) for value in whole)
            return (found if found.mended else replace(found, low=least, high=greatest)), doubts
        chosen = norm if isinstance(norm, Percentile) else Percentile()
        return find_limits(planes, chosen.low, chosen.high), doubts

    def _flatness(self, sample: NDArray[Any]) -> str:
        """Say it if limits that were chosen show all of a sample as one grey value."""
        least, greatest = (float(value) for value in np.nanpercentile(sample, (0, 100)))
        low, high = self.limits
        assert self.normalisation is not None
        how = describe_normalisation(self.normalisation)
        if least == greatest or (low < high and greatest > low and least < high):
            return ""
        colour = "white" if low < high and least >= high else "black"
        return f"The contrast ({how}) makes every pixel {colour}: the values go from {least:g} to {greatest:g}."

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
        grey = to_uint8(self.raw(index, box), *self.limits)
        if grey.ndim == 2:
            grey = grey[..., None]
        if grey.shape[-1] == 2:
            grey = np.concatenate([grey, np.zeros_like(grey[..., :1])], axis=-1)
        return np.ascontiguousarray(grey if grey.shape[-1] == 3 else np.repeat(grey, 3, axis=-1))

    def plane_view(self, labels: NDArray[Any], index: tuple[int, ...]) -> NDArray[Any]:
        """Return the slice of a label image as a writable (rows, columns) view.

        Parameters
        ----------
        labels : ndarray
            Array of this image's `shape`.
        index : tuple of int
            The slice, one number for each of `slice_axes`.

        Returns
        -------
        (M, N) ndarray
            A view, not a copy.
        """
        return plane_view(labels, self.label_axes, index)

    def channel_numbers(self, chosen: int | str | tuple[int | str, ...] | None) -> tuple[int, ...] | None:
        """Return channels given by name or number in the form that `channels` takes.

        Parameters
        ----------
        chosen : int or str or tuple of int or str, or None
            Case is ignored unless two names differ in case only. Text that is the number of a channel, such as ``"2"``,
            is that number, even if another channel has this name.

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
        count = self._size("C") if "C" in self._axes else 0
        names = chosen if isinstance(chosen, tuple) else (chosen,)
        return tuple(channel_number(name, self.channel_names, count) for name in names)

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
        named = ("axes", "channels", "normalisation", "spacing", "units", "source", "channel_names")
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
        return replace(
            self, data=levels if len(levels) > 1 else levels[0], axes=axes, channels=None, source=None, channel_names=()
        )

    def identity(self) -> str:
        """Return the fingerprint of the pixels with the default channels.

        Returns
        -------
        str
            The same whichever channels are used: whose objects they are does not depend on that.
        """
        return self._identity

    @cached_property
    def _identity(self) -> str:
        plain = self if self.chosen_channels == self._default_channels() else replace(self, channels=None)
        return plain.fingerprint()

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self.dtype.str[1:]} {self._axes} {self.shape} {self.channels}".encode())
        sample = self._sample()
        digest.update(sample.astype(sample.dtype.newbyteorder("="), copy=False).tobytes())
        return digest.hexdigest()

    def _size(self, axis: str) -> int:
        return int(self.levels[0].shape[self._axes.index(axis)])

    def _checked_channels(self) -> tuple[int, ...]:
        if "C" not in self._axes:
            if self.channels not in (None, ()):
                raise AxesError(f"channels={self.channels} was given, but axes {self._axes!r} have no channel axis C.")
            return ()
        count = self._size("C")
        if self.channels is None:
            return self._default_channels()
        channels = self.channel_numbers(self.channels) or ()
        if not 1 <= len(channels) <= 3 or not all(0 <= c < count for c in channels):
            raise AxesError(f"channels={self.channels}: choose one to three of the {count} channels, 0 to {count - 1}.")
        return channels

    def _default_channels(self) -> tuple[int, ...]:
        if "C" not in self._axes:
            return ()
        return (0, 1, 2) if self._axes.endswith("C") and self._size("C") in (3, 4) else (0,)

    def _read(self, level: int, index: tuple[int, ...], box: tuple[int, int, int, int] | None) -> NDArray[Any]:
        if len(index) != len(self.slice_axes):
            raise AxesError(f"A slice of axes {self._axes!r} has {len(self.slice_axes)} indices, got {index}.")
        array = self.levels[level]
        position: dict[str, Any] = dict(zip(self.slice_axes, index, strict=True))
        if box is not None:
            position |= {"Y": slice(box[0], box[2] + 1), "X": slice(box[1], box[3] + 1)}
        channels = self.chosen_channels
        if len(channels) == 1:
            position["C"] = channels[0]
        elif channels:
            position["C"] = slice(min(channels), max(channels) + 1)
        part = in_memory(array[tuple(position.get(axis, slice(None)) for axis in self._axes)])
        kept = [axis for axis in self._axes if not isinstance(position.get(axis), int | np.integer)]
        part = part.transpose([kept.index(axis) for axis in ("Y", "X", "C") if axis in kept])
        return part[..., [c - min(channels) for c in channels]] if len(channels) > 1 else part

    def _sample(self) -> NDArray[Any]:
        """Return up to about a million pixels, spread over the slices of a coarse enough level."""
        return _flat(self._planes()[0])

    def _planes(self, most: int = 0) -> tuple[list[NDArray[Any]], tuple[float, float]]:
        """Return slices, spread over the stack, with up to about a million pixels; and their least and greatest value.

        `most`: instead, all pixels of as many slices as have so many together.
        """
        level = max(i for i, a in enumerate(self.levels) if i == 0 or self._plane_pixels(a) >= _SAMPLE_PIXELS // 4)
        indices = list(self.indices())
        slices = most // self._plane_pixels(self.levels[level]) if most else _SAMPLE_SLICES
        if not slices:
            return [], (0.0, 1.0)
        chosen = [indices[i] for i in np.unique(np.linspace(0, len(indices) - 1, slices).round().astype(int))]
        planes = [self._read(level, index, None) for index in chosen]
        pixels = sum(p.shape[0] * p.shape[1] for p in planes)
        step = 1 if most else max(1, int(np.ceil(np.sqrt(pixels / _SAMPLE_PIXELS))))
        with np.errstate(invalid="ignore"):
            finite = [(p[np.isfinite(p)] if p.dtype.kind == "f" else p) for p in planes]
            ends = [(p.min(), p.max()) for p in finite if p.size]
        whole = (float(min(a for a, _ in ends)), float(max(b for _, b in ends))) if ends else (0.0, 1.0)
        return [p[::step, ::step] for p in planes], whole

    def _plane_pixels(self, array: Any) -> int:
        return int(array.shape[self._axes.index("Y")] * array.shape[self._axes.index("X")])


def _flat(planes: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([np.ravel(plane) for plane in planes])


def _is_flat(sample: NDArray[Any]) -> bool:
    finite = sample[np.isfinite(sample)]
    return bool(finite.size) and finite.min() == finite.max()


def _is_pyramid(levels: Sequence[Any]) -> bool:
    """Tell a list of arrays that shrink from a nested list of numbers or a list of equal planes."""
    shapes: list[Any] = [getattr(level, "shape", None) for level in levels]
    if not shapes or any(shape is None or len(shape) < 2 for shape in shapes):
        return False
    sizes = [int(np.prod(shape)) for shape in shapes if shape is not None]
    return all(a > b for a, b in pairwise(sizes))


def _check_levels(levels: Sequence[Any], axes: str, source: str | None) -> None:
    """Refuse a list of images that is no pyramid."""
    sides = [(int(level.shape[axes.index("Y")]), int(level.shape[axes.index("X")])) for level in levels]
    if not all(is_next_level(before, after) for before, after in pairwise(sides)):
        raise BadImageError(
            source,
            f"a list of images of {', '.join(f'{y} by {x}' for y, x in sides)} pixels is no pyramid, in which rows and "
            "columns shrink by one factor (2, 3, 4 …) from level to level; give the images one by one, or stack equal "
            "ones with numpy.stack",
        )


def _as_array(data: Any) -> NDArray[Any]:
    try:
        return np.asarray(data)
    except ValueError as error:
        raise BadImageError(None, f"the data cannot be made an array: {error}") from error


def _check_dtype(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "buif":
        raise DTypeError(
            f"Pixels of type {dtype} have no grey values; bool, integers and floats do. "
            + ("Take np.abs or np.real of the array first." if dtype.kind == "c" else "Convert the array first.")
        )

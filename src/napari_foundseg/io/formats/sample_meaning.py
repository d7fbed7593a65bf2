"""Convert stored values to their meaning: palettes, white as zero, colour spaces, planes, alpha, orientation.

A format's reader returns the values as they are stored, and their meaning in `StoredSamples`. Only `interpret` converts
them to grey values, or to red, green and blue. Labels are read as they are stored, since ids have no colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.io.formats.content import FileContent
from napari_foundseg.io.formats.stored_samples import StoredSamples

__all__ = ["ConvertedArray", "interpret", "orientation_notes"]

#: The transformation that makes the picture upright, by the values of TIFF and Exif.
_ORIENTATIONS = {
    2: "mirrored left to right",
    3: "turned by 180°",
    4: "mirrored top to bottom",
    5: "mirrored along its diagonal",
    6: "turned by 90° clockwise",
    7: "mirrored along its other diagonal",
    8: "turned by 90° counterclockwise",
}
#: Common names of the colour spaces that are converted.
_SPACES = {"cmyk": "CMYK", "ycbcr": "YCbCr", "cielab": "L*a*b*", "icclab": "L*a*b*"}
#: Takes stored values and returns converted ones. If a pixel has several values, they are the last axis.
_Convert = Callable[[NDArray[Any]], NDArray[Any]]


class ConvertedArray:
    """An array whose values are converted when it is indexed. The values of a pixel are the last axis.

    Parameters
    ----------
    array : array-like
        Any object with `shape`, `dtype` and slicing.
    axis : int, optional
        The axis of the stored values of one pixel, if there is one.
    convert : callable
        Takes an array with that axis last, and returns as many pixels.
    count : int, optional
        Number of values of a converted pixel, along a new last axis; None if it is one value without an axis.
    dtype : dtype
        Dtype of the converted values.
    """

    def __init__(self, array: Any, axis: int | None, convert: _Convert, count: int | None, dtype: Any) -> None:
        self._array = array
        self._axis = axis
        self._convert = convert
        self._count = count
        self._pixels = tuple(int(n) for i, n in enumerate(array.shape) if i != axis)
        self.shape: tuple[int, ...] = self._pixels if count is None else (*self._pixels, count)
        self.dtype = np.dtype(dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        whole = (*key, *[slice(None)] * (self.ndim - len(key)))
        pixels = len(self._pixels)
        parts = list(whole[:pixels])
        if self._axis is not None:
            parts.insert(self._axis, slice(None))
        stored = np.asarray(self._array[tuple(parts)])
        if self._axis is not None:
            before = sum(isinstance(part, slice) for part in parts[: self._axis])
            stored = np.moveaxis(stored, before, -1)
        converted = self._convert(stored)
        return converted[(..., *whole[pixels:])] if self._count is not None else converted

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[(slice(None),)], dtype=dtype)


@dataclass(frozen=True)
class _Conversion:
    """A function that converts stored values, and the number of values of a converted pixel."""

    convert: _Convert
    #: None if a pixel has one value without an axis.
    count: int | None
    #: The dtype of the converted values; that of the stored ones by default.
    dtype: type | None = None
    notes: tuple[str, ...] = ()


def interpret(content: FileContent) -> FileContent:
    """Return an image with converted values. No pixel changes its place.

    White as zero is inverted. Palettes, CMYK, YCbCr and L*a*b* become 8-bit red, green and blue along the last axis
    ``C``. Planes of red, green and blue become that axis too. Alpha of a grey image is left out.
    """
    samples = content.samples
    if samples is None:
        return content
    content = replace(content, samples=None)
    if samples.photometric == "rgb" and samples.count > 4:
        content = replace(content, chosen=(0, 1, 2))
    conversion = _conversion(samples, _finest(content.data).ndim)
    if conversion is None:
        return content
    axes = _converted_axes(content, samples, conversion.count is not None)
    if axes is None:
        # The user's axes are those of the stored values.
        return replace(content, chosen=None)
    levels = content.data if isinstance(content.data, list) else [content.data]
    data = [_converted(level, samples.axis, conversion) for level in levels]
    notes = (*content.notes, *conversion.notes)
    return replace(content, data=data if isinstance(content.data, list) else data[0], axes=axes, notes=notes)


def orientation_notes(orientation: int) -> tuple[str, ...]:
    """Return a note that the orientation of TIFF and Exif is not applied; empty if there is none."""
    if orientation not in _ORIENTATIONS:
        return ()
    words = (
        f"Its orientation tag ({orientation}: to be shown {_ORIENTATIONS[orientation]}) is not applied: the labels lie"
    )
    return (f"{words} on the pixels as they are stored, which napari, Fiji and QuPath show.",)


def _finest(data: Any) -> Any:
    return data[0] if isinstance(data, list) else data


def _conversion(samples: StoredSamples, dimensions: int) -> _Conversion | None:
    """Return the conversion of the stored values; None if they need none."""
    kind = samples.photometric
    if kind == "palette" and samples.axis is None and samples.palette is not None:
        return _palette_conversion(samples.palette)
    inverted = ("White is 0 in this file: its values are inverted.",)
    if samples.count == 2 and samples.alpha is not None:
        invert = _inversion(samples.bits) if kind == "white is zero" else None
        grey = 1 - samples.alpha
        return _Conversion(
            lambda stored: stored[..., grey] if invert is None else invert(stored[..., grey]),
            None,
            notes=inverted if invert else (),
        )
    if kind == "white is zero":
        return _Conversion(
            _inversion(samples.bits), samples.count if samples.axis is not None else None, notes=inverted
        )
    if samples.axis is None:
        return None
    if kind in _SPACES and samples.count >= (4 if kind == "cmyk" else 3):
        words = f"Its colours are {_SPACES[kind]}; they are converted to red, green and blue without a colour profile."
        return _Conversion(_TO_RGB[kind](samples), 3, np.uint8, (words,))
    if kind == "rgb" and samples.axis != dimensions - 1:
        return _Conversion(lambda stored: stored, samples.count)
    return None


def _palette_conversion(palette: NDArray[np.uint8]) -> _Conversion | None:
    last = len(palette) - 1
    if (palette == palette[:, :1]).all():
        grey = np.ascontiguousarray(palette[:, 0])
        return _Conversion(lambda stored: grey[np.minimum(stored, last)], None, np.uint8)
    return _Conversion(lambda stored: palette[np.minimum(stored, last)], 3, np.uint8)


def _converted_axes(content: FileContent, samples: StoredSamples, several: bool) -> str | None:
    """Return the axes of the converted array; None if the axes fit neither array."""
    axes = content.axes
    axis = samples.axis
    stored = _finest(content.data).ndim
    pixels = axes
    if axis is not None and len(axes) == stored:
        if axes[axis] == "C":
            pixels = axes[:axis] + axes[axis + 1 :]
        elif axes[-1] == "C":
            pixels = axes[:-1]
        else:
            return None
    if "C" in pixels and several and len(axes) == stored:
        return None
    converted = f"{pixels}C" if several and (axis is not None or len(axes) == stored) else pixels
    wanted = stored - (axis is not None) + several
    return converted if len(converted) == wanted else None


def _converted(array: Any, axis: int | None, conversion: _Conversion) -> Any:
    dtype = conversion.dtype or array.dtype
    lazy = ConvertedArray(array, axis, conversion.convert, conversion.count, dtype)
    in_memory = isinstance(array, np.ndarray) and not isinstance(array, np.memmap)
    return np.ascontiguousarray(np.asarray(lazy)) if in_memory else lazy


def _inversion(bits: int) -> _Convert:
    def invert(stored: NDArray[Any]) -> NDArray[Any]:
        # For signed integers the smallest value becomes the largest; for bool, False becomes True.
        inverted: NDArray[Any] = np.negative(stored) if stored.dtype.kind == "f" else np.invert(stored)
        # The array may have more bits than the file.
        return inverted & ((1 << bits) - 1) if stored.dtype.kind == "u" else inverted

    return invert


def _from_cmyk(_: StoredSamples) -> _Convert:
    def convert(stored: NDArray[Any]) -> NDArray[np.uint8]:
        ink = stored[..., :4].astype(np.float32) / np.iinfo(stored.dtype).max
        return _as_bytes((1 - ink[..., :3]) * (1 - ink[..., 3:]))

    return convert


def _from_ycbcr(samples: StoredSamples) -> _Convert:
    def convert(stored: NDArray[Any]) -> NDArray[np.uint8]:
        top = float(np.iinfo(stored.dtype).max)
        middle = (top + 1) / 2
        black_white = samples.black_white or (0, top, middle, top, middle, top)
        codes = (top, top - middle, top - middle)
        parts = []
        for i, code in enumerate(codes):
            black, white = black_white[2 * i : 2 * i + 2]
            parts.append((stored[..., i].astype(np.float32) - black) * code / (white - black or 1))
        y, cb, cr = parts
        red_weight, green_weight, blue_weight = samples.luma
        red = cr * (2 - 2 * red_weight) + y
        blue = cb * (2 - 2 * blue_weight) + y
        green = (y - blue_weight * blue - red_weight * red) / green_weight
        return _as_bytes(np.stack([red, green, blue], axis=-1) / top)

    return convert


def _from_lab(samples: StoredSamples) -> _Convert:
    def convert(stored: NDArray[Any]) -> NDArray[np.uint8]:
        from skimage.color import lab2rgb

        top = np.iinfo(stored.dtype).max
        step = (top + 1) / 256 if stored.dtype.kind == "u" else (top + 1) / 128
        lightness = stored[..., :1].astype(np.float32) * 100 / top
        if samples.photometric == "icclab":
            colour = (stored[..., 1:3].astype(np.float32) - (top + 1) / 2) / step
        else:
            # a* and b* are signed, whatever the dtype of the array.
            colour = stored[..., 1:3].astype(f"i{stored.dtype.itemsize}").astype(np.float32) / step
        return _as_bytes(lab2rgb(np.concatenate([lightness, colour], axis=-1)))

    return convert


def _as_bytes(colour: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(colour.clip(0, 1) * 255), np.uint8)


_TO_RGB = {"cmyk": _from_cmyk, "ycbcr": _from_ycbcr, "cielab": _from_lab, "icclab": _from_lab}

"""`FileContent`: pixels and metadata of an image file of any format; and functions that several formats share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats.free_memory import available_memory, format_bytes
from napari_foundseg.io.formats.stored_samples import StoredSamples

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DEFLATE_RATIO",
    "HEADER_ONLY",
    "Colour",
    "FileContent",
    "LazyArray",
    "check_memory",
    "check_size",
    "choose_axes",
    "colours_from_text",
    "colours_to_text",
    "damaged_error",
]

#: Whether a reader may skip the pixels, because only shape, axes and other metadata are wanted.
HEADER_ONLY: ContextVar[bool] = ContextVar("HEADER_ONLY", default=False)
#: Most bytes that a byte of deflate (PNG, zlib, gzip) can encode.
DEFLATE_RATIO = 1032
#: A part of a file that is unpacked as a whole may become this large, or this many times larger than it is stored.
_LARGE_PART = 1 << 30
_LARGE_RATIO = 200
#: Red, green, blue and opacity, 0 to 255.
Colour = tuple[int, int, int, int]


@dataclass
class FileContent:
    """Pixels and metadata of an image file or label file.

    Parameters
    ----------
    data : ndarray or LazyArray or list of LazyArray
        The values as they are stored in the file; a list is a pyramid, finest level first.
    axes : str
        One letter of ``QTCZYX`` for every axis.
    spacing : dict of str to float
        Size of a pixel along each axis, if the file has it.
    units : dict of str to str
        Unit of each spacing.
    channels : tuple of str
        Names of the channels, if the file has them.
    colours : dict of int to tuple of int
        For a label image: red, green, blue and opacity (0 to 255) by id.
    properties : pandas.DataFrame, optional
        For a label image: one row per object, with its id in the column ``label``.
    notes : tuple of str
        Sentences for the user about choices and omissions of the reader.
    samples : StoredSamples, optional
        The meaning of the stored values, unless they are grey values, or red, green and blue along the last axis. It is
        used by `sample_meaning.interpret`.
    inside : str
        The name of the image in the file, such as ``1``, if the file has several and the reader chose one.
    chosen : tuple of int, optional
        The default channels, such as red, green and blue of five.
    """

    data: Any
    axes: str
    spacing: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    colours: dict[int, Colour] = field(default_factory=dict)
    properties: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    samples: StoredSamples | None = None
    chosen: tuple[int, ...] | None = None
    inside: str = ""


class LazyArray:
    """An array in a file. Its pixels are read when it is indexed.

    Parameters
    ----------
    path : Path
        The file, for error messages.
    array : zarr.Array
        The image or one level of it.
    kept : tuple of int
        Axes to keep. The others have size 1 and are dropped.
    """

    def __init__(self, path: Path, array: Any, kept: tuple[int, ...]) -> None:
        self._array = array
        self._path = path
        self._kept = kept
        self.shape: tuple[int, ...] = tuple(int(array.shape[i]) for i in kept)
        self.dtype = np.dtype(array.dtype)
        self.ndim = len(kept)
        # napari needs the size of every array that it shows.
        self.size = prod(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        full: list[Any] = [0] * self._array.ndim
        for axis, part in zip(self._kept, (*key, *[slice(None)] * (self.ndim - len(key))), strict=True):
            full[axis] = part
        try:
            return np.asarray(self._array[tuple(full)])
        except BadImageError:
            raise
        except Exception as error:
            raise damaged_error(self._path, error) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[(slice(None),)], dtype=dtype)


def choose_axes(letters: str, shape: Sequence[int], axes: str | None) -> tuple[int, ...]:
    """Return the numbers of the axes to keep: all except those of size 1 other than Y and X.

    Parameters
    ----------
    letters : str
        Axes of the file.
    shape : sequence of int
        Their sizes.
    axes : str or None
        The user's axes. If they name every axis, all are kept.
    """
    if axes is not None and len(axes) == len(letters):
        return tuple(range(len(letters)))
    return tuple(i for i, (letter, n) in enumerate(zip(letters, shape, strict=True)) if n > 1 or letter in "YX")


def check_memory(path: Path, shape: Sequence[int], itemsize: int) -> None:
    """Raise an error for an array that needs too much memory, before it is allocated: a header may claim any size.

    Raises
    ------
    BadImageError
        If the array and a copy of it do not fit into the free memory.
    """
    size = prod(shape) * itemsize
    available = available_memory()
    if 2 * size > available:
        raise BadImageError(
            path,
            f"{' by '.join(map(str, shape))} pixels are {format_bytes(size)}, but only {format_bytes(available)} of "
            "memory are free; cut the image into parts, or copy the file again if it should be smaller",
        )


def check_size(
    path: Path, shape: Sequence[int], itemsize: int, stored: int, ratio: float, unpacked: int | None = None
) -> None:
    """Raise an error if a part of a file cannot be as large as its header claims, before anything is unpacked.

    Parameters
    ----------
    path : Path
        The file.
    shape : sequence of int
        The claimed shape of the part that is unpacked as a whole: an image, or one strip, tile or chunk of it.
    itemsize : int
        Bytes of memory per pixel during unpacking.
    stored : int
        Bytes of the part in the file.
    ratio : float
        Most unpacked bytes per stored byte, a limit of the compression.
    unpacked : int, optional
        Bytes after decompression, if they differ from those of the pixels in memory.

    Raises
    ------
    BadImageError
        If so few bytes cannot encode the part, if it does not fit into memory, or if it is so large and so empty that
        the file was probably made to fill the memory.
    """
    size = prod(shape) * itemsize if unpacked is None else unpacked
    claimed = f"{' by '.join(map(str, shape))} pixels are {format_bytes(size)}"
    if size > stored * ratio:
        raise BadImageError(
            path,
            f"the file is truncated, or its header is damaged: {claimed}, and the {format_bytes(stored)} of them that "
            "it holds cannot be all; copy or export it again",
        )
    if size > max(_LARGE_PART, _LARGE_RATIO * stored):
        raise BadImageError(
            path,
            f"{claimed} in one piece, of which it holds {format_bytes(stored)}: too much to unpack at once; save "
            "it in tiles, as TIFF or OME-Zarr",
        )
    check_memory(path, shape, itemsize)


def damaged_error(path: Path, error: Exception) -> BadImageError:
    """Return the error for a file in which a library found a fault."""
    if isinstance(error, MemoryError):
        return BadImageError(path, "there is not enough free memory for it; close other programs, or cut it into parts")
    reason = str(error) or type(error).__name__
    return BadImageError(path, f"the file is damaged or of an unsupported kind ({reason}); copy or export it again")


def colours_to_text(colours: Mapping[int, Colour]) -> dict[str, str]:
    """Return colours as JSON text, in order of the ids, such as ``{"7": "#ff8000ff"}``."""
    return {str(label): f"#{bytes(colours[label]).hex()}" for label in sorted(colours)}


def colours_from_text(texts: Mapping[str, str]) -> dict[int, Colour]:
    """Return the colours that a result of `colours_to_text` describes.

    Raises
    ------
    ValueError
        If the texts are not colours.
    """
    found = {}
    for label, text in texts.items():
        red, green, blue, opacity = bytes.fromhex(text[1:])
        found[int(label)] = (red, green, blue, opacity)
    return found

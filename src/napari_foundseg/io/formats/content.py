"""`FileContent`: pixels and metadata of an image file, whatever its format; and what several formats share."""

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

#: Whether a reader may leave the pixels unread: only shape, axes and other metadata are wanted.
HEADER_ONLY: ContextVar[bool] = ContextVar("HEADER_ONLY", default=False)
#: Bytes that a byte of deflate (PNG, zlib, gzip) can stand for.
DEFLATE_RATIO = 1032
#: A part of a file that is unpacked as a whole may become this large, or as many times larger than it is stored.
_LARGE_PART = 1 << 30
_LARGE_RATIO = 200
#: Red, green, blue and opacity, 0 to 255.
Colour = tuple[int, int, int, int]


@dataclass
class FileContent:
    """Pixels of an image or label image with the metadata of its file.

    Parameters
    ----------
    data : ndarray or LazyArray or list of LazyArray
        The values as the file stores them, in their places; a list is a pyramid, finest level first.
    axes : str
        One letter of ``QTCZYX`` for every axis.
    spacing : dict of str to float
        Size of a pixel along each axis, where the file has it.
    units : dict of str to str
        Unit of each spacing.
    channels : tuple of str
        Names of the channels, where the file has them.
    colours : dict of int to tuple of int
        Of a label image: red, green, blue and opacity (0 to 255) by id.
    properties : pandas.DataFrame, optional
        Of a label image: one row an object; the column ``label`` holds its id.
    notes : tuple of str
        What was chosen, left out or not applied when the file was read, one sentence each, for the user.
    samples : StoredSamples, optional
        What the stored values mean, where they are not grey values or red, green and blue along the last axis;
        `sample_meaning.interpret` uses it.
    inside : str
        Which image of the file it is, such as ``1``, where the file holds several and none was asked for.
    chosen : tuple of int, optional
        The channels that are used unless the user chooses others, such as red, green and blue of five.
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
    """An array in a file, whose pixels are read when it is indexed.

    Parameters
    ----------
    path : Path
        The file, for error messages.
    array : zarr.Array
        The image or one level of it.
    kept : tuple of int
        Axes to keep; the others have size 1 and are dropped.
    """

    def __init__(self, path: Path, array: Any, kept: tuple[int, ...]) -> None:
        self._array = array
        self._path = path
        self._kept = kept
        self.shape: tuple[int, ...] = tuple(int(array.shape[i]) for i in kept)
        self.dtype = np.dtype(array.dtype)
        self.ndim = len(kept)
        # napari asks every array that it shows.
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
    """Return the numbers of the axes to keep: those of size 1 are dropped, except rows and columns.

    Parameters
    ----------
    letters : str
        Axes as the file names them.
    shape : sequence of int
        Their sizes.
    axes : str or None
        Axes as the user names them; if they name every axis, all are kept.
    """
    if axes is not None and len(axes) == len(letters):
        return tuple(range(len(letters)))
    return tuple(i for i, (letter, n) in enumerate(zip(letters, shape, strict=True)) if n > 1 or letter in "YX")


def check_memory(path: Path, shape: Sequence[int], itemsize: int) -> None:
    """Refuse an array for which there is no memory, before it is allocated: a header may claim any size.

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
    """Refuse a part of a file that cannot be as large as its header claims, before anything is unpacked.

    Parameters
    ----------
    path : Path
        The file.
    shape : sequence of int
        What the header claims, of what is unpacked as a whole: an image, or one strip, tile or chunk of it.
    itemsize : int
        Bytes of memory that a pixel takes while it is unpacked.
    stored : int
        Bytes of it in the file.
    ratio : float
        How many bytes one of these can stand for at most, which the compression limits.
    unpacked : int, optional
        Bytes after decompression, where they are others than those of the pixels in the memory.

    Raises
    ------
    BadImageError
        If so few bytes cannot hold it, it does not fit into the memory, or it is so large and so empty that only a file
        made to fill the memory is.
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
    """Return the error for a file in which a library found something wrong."""
    if isinstance(error, MemoryError):
        return BadImageError(path, "there is not enough free memory for it; close other programs, or cut it into parts")
    reason = str(error) or type(error).__name__
    return BadImageError(path, f"the file is damaged or of an unsupported kind ({reason}); copy or export it again")


def colours_to_text(colours: Mapping[int, Colour]) -> dict[str, str]:
    """Return colours as JSON text, in order of the ids, such as ``{"7": "#ff8000ff"}``."""
    return {str(label): f"#{bytes(colours[label]).hex()}" for label in sorted(colours)}


def colours_from_text(texts: Mapping[str, str]) -> dict[int, Colour]:
    """Undo `colours_to_text`.

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

"""What a file of pixels holds, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats.free_memory import available_memory, format_bytes

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Colour",
    "FileContent",
    "LazyArray",
    "check_memory",
    "choose_axes",
    "colours_from_text",
    "colours_to_text",
    "damaged_error",
]

#: Red, green, blue and opacity, 0 to 255.
Colour = tuple[int, int, int, int]


@dataclass
class FileContent:
    """What a file holds.

    Parameters
    ----------
    data : ndarray or LazyArray or list of LazyArray
        The pixels; a list is a pyramid, finest first.
    axes : str
        One letter of ``QTCZYX`` an axis.
    spacing : dict of str to float
        Size of a pixel along each axis, where the file says so.
    units : dict of str to str
        Unit of each spacing.
    channels : tuple of str
        Names of the channels, where the file has them.
    colours : dict of int to tuple of int
        Of a label image: red, green, blue and opacity (0 to 255) of ids.
    properties : pandas.DataFrame, optional
        Of a label image: what is known of each id; the column ``label`` holds it.
    """

    data: Any
    axes: str
    spacing: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    colours: dict[int, Colour] = field(default_factory=dict)
    properties: pd.DataFrame | None = None


class LazyArray:
    """An array of a file whose pixels are read when they are asked for.

    Parameters
    ----------
    path : Path
        The file, which errors name.
    array : zarr.Array
        Its image or one level of it.
    kept : tuple of int
        The axes that remain; the others have size 1 and are dropped.
    """

    def __init__(self, path: Path, array: Any, kept: tuple[int, ...]) -> None:
        self._array, self._path, self._kept = array, path, kept
        self.shape: tuple[int, ...] = tuple(int(array.shape[i]) for i in kept)
        self.dtype = np.dtype(array.dtype)
        self.ndim = len(kept)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        full: list[Any] = [0] * self._array.ndim
        for axis, part in zip(self._kept, (*key, *[slice(None)] * (self.ndim - len(key))), strict=True):
            full[axis] = part
        try:
            return np.asarray(self._array[tuple(full)])
        except Exception as error:
            raise damaged_error(self._path, error) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[(slice(None),)], dtype=dtype)


def choose_axes(letters: str, shape: Sequence[int], axes: str | None) -> tuple[int, ...]:
    """Choose the axes that are not dropped.

    Parameters
    ----------
    letters : str
        As the file names its axes, rows and columns ``Y`` and ``X``.
    shape : sequence of int
        Their sizes.
    axes : str or None
        As the person names them.

    Returns
    -------
    tuple of int
        All but those of size 1 that are neither rows nor columns, unless the person names them all.
    """
    if axes is not None and len(axes) == len(letters):
        return tuple(range(len(letters)))
    return tuple(i for i, (letter, n) in enumerate(zip(letters, shape, strict=True)) if n > 1 or letter in "YX")


def check_memory(path: Path, shape: Sequence[int], itemsize: int) -> None:
    """Refuse before anything is allocated: a header may claim any size.

    Parameters
    ----------
    path : Path
        The file.
    shape : sequence of int
        Of what is read at once.
    itemsize : int
        Bytes of a pixel.

    Raises
    ------
    BadImageError
        If there is no room for it and a copy of it.
    """
    size, available = prod(shape) * itemsize, available_memory()
    if 2 * size > available:
        raise BadImageError(
            path,
            f"{' by '.join(map(str, shape))} pixels are {format_bytes(size)}, but only {format_bytes(available)} of "
            "memory are free; cut the image into parts, or copy the file again if it should be smaller",
        )


def damaged_error(path: Path, error: Exception) -> BadImageError:
    """Return the error that says what a library found wrong.

    Parameters
    ----------
    path : Path
        The file.
    error : Exception
        What the library raised.

    Returns
    -------
    BadImageError
        To be raised.
    """
    what = str(error) or type(error).__name__
    return BadImageError(path, f"the file is damaged or of a kind that is not read ({what}); copy or export it again")


def colours_to_text(colours: Mapping[int, Colour]) -> dict[str, str]:
    """Return colours as formats without a place for them keep them.

    Parameters
    ----------
    colours : mapping of int to tuple of int
        Of ids.

    Returns
    -------
    dict of str to str
        Such as ``{"7": "#ff8000ff"}``, in order of the ids.
    """
    return {str(label): f"#{bytes(colours[label]).hex()}" for label in sorted(colours)}


def colours_from_text(texts: Mapping[str, str]) -> dict[int, Colour]:
    """Return the colours that `colours_to_text` has made texts of.

    Parameters
    ----------
    texts : mapping of str to str
        As `colours_to_text` returns it.

    Returns
    -------
    dict of int to tuple of int
        Of ids.

    Raises
    ------
    ValueError
        If these are no such texts.
    """
    found = {}
    for label, text in texts.items():
        red, green, blue, opacity = bytes.fromhex(text[1:])
        found[int(label)] = (red, green, blue, opacity)
    return found

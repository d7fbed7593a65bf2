"""TIFF, BigTIFF, OME-TIFF and ImageJ's TIFF: pixels, axes, spacing and units."""

from __future__ import annotations

import struct
import weakref
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import AxesError, BadImageError
from napari_foundseg.io.memory import available_memory, in_words

__all__ = ["LazyTiff", "TiffContent", "read_tiff"]

#: Files of up to this many bytes of pixels are read at once; larger ones slice by slice, when a slice is asked for.
EAGER_BYTES = 1 << 28
#: Letters of tifffile for colour samples and for slices that have no meaning of their own.
_COLOUR, _UNNAMED = "S", "ZTQ"
_UNITS = {"micron": "µm", "microns": "µm", "um": "µm", "\\u00B5m": "µm", "μm": "µm", "sec": "s", "inch": "in"}


@dataclass
class TiffContent:
    """What a TIFF holds.

    Parameters
    ----------
    data : ndarray or LazyTiff or list of LazyTiff
        The pixels; a list is a pyramid, finest first.
    axes : str
        One letter of ``QTCZYX`` an axis.
    spacing : dict of str to float
        Size of a pixel along each axis, where the file says so.
    units : dict of str to str
        Unit of each spacing.
    """

    data: Any
    axes: str
    spacing: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)


class LazyTiff:
    """A TIFF whose pixels are read when they are asked for.

    Parameters
    ----------
    path : Path
        The file, kept open as long as this object lives.
    series : tifffile.TiffPageSeries
        Its image or one level of it.
    kept : tuple of int
        The axes that remain; the others have size 1 and are dropped.
    """

    def __init__(self, path: Path, series: Any, kept: tuple[int, ...]) -> None:
        import zarr

        store = series.aszarr(level=0, squeeze=False)
        self._array: Any = zarr.open_array(store, mode="r")
        self._path, self._kept = path, kept
        self.shape: tuple[int, ...] = tuple(self._array.shape[i] for i in kept)
        self.dtype = np.dtype(self._array.dtype)
        self.ndim = len(kept)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        full: list[Any] = [0] * self._array.ndim
        for axis, part in zip(self._kept, (*key, *[slice(None)] * (self.ndim - len(key))), strict=True):
            full[axis] = part
        try:
            return np.asarray(self._array[tuple(full)])
        except Exception as error:
            raise _damaged(self._path, error) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[(slice(None),)], dtype=dtype)


def read_tiff(path: Path, axes: str | None) -> TiffContent:
    """Read a TIFF, or open it for reading slice by slice where it is large.

    Parameters
    ----------
    path : Path
        The file.
    axes : str or None
        The axes as the person names them; by default as the file names them.

    Returns
    -------
    TiffContent
        Pixels and what the file says of them.

    Raises
    ------
    BadImageError
        If the file is damaged, or one slice of it needs more memory than there is.
    AxesError
        If it has axes that cannot be told apart.
    """
    import tifffile

    with path.open("rb") as file:
        _check_chain(path, file)
    try:
        tiff = tifffile.TiffFile(path)
    except Exception as error:
        raise _damaged(path, error) from error
    keep_open = False
    try:
        content = _content(path, tiff, axes)
        keep_open = isinstance(content.data, list | LazyTiff)
    except (BadImageError, AxesError):
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    finally:
        if not keep_open:
            tiff.close()
    # All levels share the open file: it is closed when the last of them is gone.
    weakref.finalize(tiff, tiff.filehandle.close)
    return content


def _content(path: Path, tiff: Any, axes: str | None) -> TiffContent:
    if not tiff.series:
        raise BadImageError(path, "the file holds no image")
    series = tiff.series[0]
    shape, letters = series.get_shape(False), series.get_axes(False)
    if not prod(shape):
        raise BadImageError(path, f"the image has no pixels (shape {tuple(shape)})")
    kept = _kept_axes(letters, shape, axes)
    letters, shape = "".join(letters[i] for i in kept), tuple(shape[i] for i in kept)
    named = axes.upper() if axes is not None else _our_axes(path, letters, shape)
    spacing, units = _calibration(tiff)
    inside = {a: v for a, v in spacing.items() if a in named}
    return TiffContent(_pixels(path, series, kept, shape), named, inside, {a: units[a] for a in inside if a in units})


def _kept_axes(letters: str, shape: tuple[int, ...], axes: str | None) -> tuple[int, ...]:
    """Drop axes of size 1 but for rows and columns, unless the person names them all."""
    if axes is not None and len(axes) == len(letters):
        return tuple(range(len(letters)))
    return tuple(i for i, (letter, n) in enumerate(zip(letters, shape, strict=True)) if n > 1 or letter in "YX")


def _our_axes(path: Path, letters: str, shape: tuple[int, ...]) -> str:
    """Translate tifffile's letters: S is colour; slices without a meaning become Z, T, Q, innermost first."""
    named = letters if "C" in letters else letters.replace(_COLOUR, "C")
    free = [letter for letter in _UNNAMED if letter not in named]
    for letter in reversed(named):
        if letter not in "TCZYX" and letter != _COLOUR and free:
            named = named.replace(letter, free.pop(0)) if letter not in _UNNAMED else named
    if len(named) > 5 or len(set(named)) < len(named) or not set(named) <= set("QTCZYX"):
        raise AxesError(
            f"{path}: an image has at most the axes T, C, Z, Y and X; this file has {letters} (shape {shape}). "
            "Split the file along one axis."
        )
    return named


def _pixels(path: Path, series: Any, kept: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    size = prod(shape) * series.dtype.itemsize
    available = available_memory()
    if size <= min(EAGER_BYTES, available // 4):
        return _all_pixels(path, series, shape)
    _check_plane(path, series, available)
    if (offset := series.dataoffset) is not None and series.dtype.kind != "b":
        if offset + size > path.stat().st_size:
            raise BadImageError(
                path, f"the file is truncated: it should hold {in_words(size)} of pixels; copy it again"
            )
        order = series.parent.byteorder
        return np.memmap(path, series.dtype.newbyteorder(order), "r", offset, shape)
    levels = [LazyTiff(path, series, kept)]
    for level in series.levels[1:]:
        inside = _kept_axes(level.get_axes(False), level.get_shape(False), None)
        if len(inside) == len(kept):
            levels.append(LazyTiff(path, level, inside))
    return levels if len(levels) > 1 else levels[0]


def _all_pixels(path: Path, series: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        return np.asarray(series.asarray()).reshape(shape)
    except (KeyError, ValueError) as error:
        if "imagecodecs" not in str(error):
            raise
        return _through_pillow(path, series, shape)


def _through_pillow(path: Path, series: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Decode LZW and the like, for which tifffile wants a further package, page by page."""
    import PIL.Image

    compression = series.keyframe.compression.name
    planes = []
    with PIL.Image.open(path) as image:
        for page in series.pages:
            image.seek(page.index)
            planes.append(np.asarray(image))
    pixels = np.stack(planes)
    if pixels.dtype != series.dtype or pixels.size != prod(shape):
        raise BadImageError(path, f"its compression {compression} needs a further package: pip install imagecodecs")
    return pixels.reshape(shape)


def _check_plane(path: Path, series: Any, available: int) -> None:
    """Refuse before anything is allocated: a header may claim any size."""
    rows, columns = (series.get_shape(False)[series.get_axes(False).index(a)] for a in "YX")
    plane = rows * columns * series.dtype.itemsize
    if 2 * plane > available:
        raise BadImageError(
            path,
            f"one slice of {rows} by {columns} {series.dtype} is {in_words(plane)}, but only {in_words(available)} of "
            "memory are free; cut the image into parts, or copy the file again if it should be smaller",
        )


def _check_chain(path: Path, file: BinaryIO) -> None:
    """Follow the pages to the last: tifffile reads a file that breaks off between two pages as a shorter one."""
    header = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(header[:2], "<")
    big = len(header) == 16 and struct.unpack(order + "H", header[2:4])[0] == 43
    count, entry, offset = ("Q", 20, "Q") if big else ("H", 12, "I")
    seen: set[int] = set()
    position = file.tell()
    try:
        (position,) = struct.unpack_from(order + offset, header, 8 if big else 4)
        while position:
            if position in seen:
                raise BadImageError(path, "the file is damaged: its pages form a loop; copy it again")
            seen.add(position)
            file.seek(position)
            (entries,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
            file.seek(entry * entries, 1)
            (position,) = struct.unpack(order + offset, file.read(struct.calcsize(order + offset)))
    except (struct.error, OverflowError, OSError, ValueError) as error:
        if isinstance(error, BadImageError):
            raise
        raise BadImageError(path, f"the file is truncated after {len(seen)} pages; copy it again") from error


def _calibration(tiff: Any) -> tuple[dict[str, float], dict[str, str]]:
    if tiff.is_ome:
        return _from_ome(tiff.ome_metadata)
    if tiff.is_imagej:
        return _from_imagej(tiff)
    if tiff.is_shaped and tiff.shaped_metadata:
        return _from_pixels(tiff.shaped_metadata[0])
    return {}, {}


def _from_ome(xml: str) -> tuple[dict[str, float], dict[str, str]]:
    import tifffile

    images = tifffile.xml2dict(xml).get("OME", {}).get("Image", {})
    first = images[0] if isinstance(images, list | tuple) else images
    return _from_pixels(first.get("Pixels", {}))


def _from_pixels(pixels: dict[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Read the attributes of OME's Pixels element, which our plain TIFFs have in their JSON too."""
    keys = {axis: f"PhysicalSize{axis}" for axis in "ZYX"} | {"T": "TimeIncrement"}
    spacing = {axis: float(pixels[key]) for axis, key in keys.items() if _is_size(pixels.get(key))}
    default = {axis: "s" if axis == "T" else "µm" for axis in keys}
    units = {axis: _unit(str(pixels.get(f"{keys[axis]}Unit", default[axis]))) for axis in spacing}
    return spacing, {axis: unit for axis, unit in units.items() if unit != "pixel"}


def _from_imagej(tiff: Any) -> tuple[dict[str, float], dict[str, str]]:
    meta, tags = tiff.imagej_metadata or {}, tiff.pages[0].tags
    spacing: dict[str, Any] = {"Z": meta.get("spacing"), "T": meta.get("finterval")}
    for axis in "YX":
        resolution = tags.valueof(f"{axis}Resolution")
        spacing[axis] = resolution[1] / resolution[0] if resolution and resolution[0] else None
    unit = _unit(str(meta.get("unit", "pixel")))
    found = {axis: float(value) for axis, value in spacing.items() if _is_size(value)}
    units = {axis: "s" if axis == "T" else unit for axis in found}
    return found, {axis: name for axis, name in units.items() if name != "pixel"}


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and np.isfinite(value) and value > 0


def _unit(name: str) -> str:
    return _UNITS.get(name, name)


def _damaged(path: Path, error: Exception) -> BadImageError:
    what = str(error) or type(error).__name__
    return BadImageError(path, f"the file is damaged or of a kind that is not read ({what}); copy or export it again")

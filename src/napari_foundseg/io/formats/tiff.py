"""TIFF, BigTIFF, OME-TIFF and ImageJ's TIFF: pixels, axes, spacing and units."""

from __future__ import annotations

import weakref
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from napari_foundseg.core.errors import AxesError, BadImageError
from napari_foundseg.io.formats.content import (
    HEADER_ONLY,
    FileContent,
    LazyArray,
    check_memory,
    choose_axes,
)
from napari_foundseg.io.formats.file_format import FileHead, Format
from napari_foundseg.io.formats.free_memory import available_memory, format_bytes
from napari_foundseg.io.formats.integrity.tiff_strips import check_segments, guard_pages
from napari_foundseg.io.formats.tiff_damage import open_tiff, tiff_error
from napari_foundseg.io.formats.tiff_metadata import add_metadata
from napari_foundseg.io.formats.tiff_samples import tiff_notes, tiff_samples
from napari_foundseg.io.formats.tiff_series import (
    check_complete,
    choose_series,
    data_set_file,
    metadata_of,
    split_series,
    tiff_images,
)
from napari_foundseg.io.formats.tiff_writer import write_ome_tiff, write_tiff

__all__ = ["FORMATS", "read_tiff"]

#: Files with up to this many bytes of pixels are read at once. Larger ones are read slice by slice when needed.
EAGER_BYTES = 1 << 28
#: tifffile's letter for colour samples.
_COLOUR = "S"
#: Letters for axes of slices without a meaning in the file, in the order of use.
_UNNAMED = "ZTQ"
#: First bytes of TIFF and BigTIFF, in both byte orders.
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_tiff(path: Path, axes: str | None) -> FileContent:
    """Read a TIFF, or open it for reading slice by slice if it is large.

    Raises
    ------
    BadImageError
        If the file is damaged, or one slice of it does not fit into memory.
    AxesError
        If its axes are ambiguous or too many.
    """
    file, metadata = metadata_of(split_series(path)[0])
    tiff = open_tiff(path, file, metadata)
    keep_open = False
    try:
        content = _content(path, tiff, axes)
        keep_open = isinstance(content.data, list | LazyArray)
    except (BadImageError, AxesError):
        raise
    except Exception as error:
        raise tiff_error(path, error) from error
    finally:
        if not keep_open:
            tiff.close()
    # All levels of a pyramid share the open file, which is closed when the last of them is released.
    weakref.finalize(tiff, tiff.filehandle.close)
    return content


def _content(path: Path, tiff: Any, axes: str | None) -> FileContent:
    if not tiff.series:
        raise BadImageError(path, "the file holds no image")
    number, inside, notes = choose_series(path, tiff)
    series = tiff.series[number]
    shape = series.get_shape(False)
    letters = series.get_axes(False)
    if not prod(shape):
        raise BadImageError(path, f"the image has no pixels (shape {tuple(shape)})")
    check_complete(path, series)
    kept = choose_axes(letters, shape, axes)
    letters = "".join(letters[i] for i in kept)
    shape = tuple(shape[i] for i in kept)
    named = axes.upper() if axes is not None else _our_axes(path, letters, shape)
    page = series.keyframe
    samples = tiff_samples(tiff, page, letters, shape)
    notes = (*notes, *tiff_notes(page), *check_segments(path, series))
    guard_pages(path, series)
    content = FileContent(_pixels(path, series, kept, shape), named, notes=notes, samples=samples)
    content.inside = inside
    add_metadata(content, tiff, number)
    return content


def _our_axes(path: Path, letters: str, shape: tuple[int, ...]) -> str:
    """Translate tifffile's letters: S becomes C; axes without a meaning become Z, T, Q, starting from the innermost."""
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
    if size <= min(EAGER_BYTES, available // 4) and not HEADER_ONLY.get():
        return np.asarray(series.asarray()).reshape(shape)
    rows, columns = (series.get_shape(False)[series.get_axes(False).index(a)] for a in "YX")
    check_memory(path, (rows, columns), series.dtype.itemsize)
    if (offset := series.dataoffset) is not None and series.dtype.kind != "b":
        if offset + size > path.stat().st_size:
            raise BadImageError(
                path, f"the file is truncated: it should hold {format_bytes(size)} of pixels; copy it again"
            )
        order = series.parent.byteorder
        return np.memmap(path, series.dtype.newbyteorder(order), "r", offset, shape)
    levels = [_lazy(path, series, kept)]
    for level in series.levels[1:]:
        inside = choose_axes(level.get_axes(False), level.get_shape(False), None)
        if len(inside) == len(kept):
            levels.append(_lazy(path, level, inside))
    return levels if len(levels) > 1 else levels[0]


def _lazy(path: Path, series: Any, kept: tuple[int, ...]) -> LazyArray:
    import zarr

    return LazyArray(path, zarr.open_array(series.aszarr(level=0, squeeze=False), mode="r"), kept)


def _is_tiff(head: FileHead) -> bool:
    return head.read(4) in _MAGIC


FORMATS = (
    Format(
        name="TIFF",
        read_endings=(".tif", ".tiff", ".btf", ".tf8"),
        recognises=_is_tiff,
        read=read_tiff,
        write_endings=(".tif", ".tiff"),
        write=write_tiff,
        images=tiff_images,
        data_set=data_set_file,
        order=0,
    ),
    # This row is for writing only: an OME-TIFF is read as a TIFF.
    Format(
        name="OME-TIFF",
        write_endings=(".ome.tif", ".ome.tiff"),
        write=write_ome_tiff,
        axes="TZYX",
        largest_id=(1 << 32) - 1,
        order=10,
    ),
)

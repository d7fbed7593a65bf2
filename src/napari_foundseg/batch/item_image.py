"""Reading the image of an item: a file, or one slice of it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.contrast import AsIs, CTWindow, Limits, MinMax, Percentile
from napari_foundseg.core.errors import AxesError, BadImageError
from napari_foundseg.core.image import Image
from napari_foundseg.core.pixels.slab import Slab, project
from napari_foundseg.io.naming import file_of, is_image_folder
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.written_files import file_state, hash_file

__all__ = ["hash_image_file", "read_item_image", "read_plane"]


def read_item_image(
    path: Path,
    axes: str | None,
    channels: int | str | tuple[int | str, ...] | None,
    normalisation: Percentile | AsIs | MinMax | Limits | CTWindow,
    index: tuple[int, ...] | None = None,
    *,
    measures_colour: bool = False,
    slab: Slab | None = None,
) -> Image:
    """Read an image, or one slice of it with the colours and grey-value limits of its whole stack.

    `measures_colour` tells whether the channels may be chosen from the colours of an RGB image when none are named.
    """
    if index is None:
        return replace(_seen(path, axes, channels, normalisation, measures_colour), slab=slab)
    # Callers ask for one slice after another, so the stack and its percentiles are cached.
    return _slice(_stack(path, axes, channels, normalisation, measures_colour, _slab_text(slab), _state(path)), index)


def hash_image_file(path: Path) -> str:
    """Hash an image's file; the last few hashes are cached until the files change."""
    if not file_of(path).is_file() and not is_image_folder(path):
        # Raises the right error. Hashing would wait for a pipe, or read any folder.
        read_image(path)
    return _digest(path, _state(path))


def _seen(
    path: Path,
    axes: str | None,
    channels: int | str | tuple[int | str, ...] | None,
    normalisation: Percentile | AsIs | MinMax | Limits | CTWindow,
    measures_colour: bool,
) -> Image:
    image = read_image(path, axes)
    if channels is None and measures_colour:
        return replace(image, normalisation=normalisation)
    # Plain numbers, as if the user had chosen them.
    chosen = tuple(image.chosen_channels) or None if channels is None else image.channel_numbers(channels)
    if chosen == (0,) and "C" not in str(image.axes):
        # A recipe for several channels, applied to an image that has one.
        chosen = None
    return replace(image, channels=chosen, normalisation=normalisation)


@lru_cache(1)
def _stack(
    path: Path,
    axes: str | None,
    channels: int | str | tuple[int | str, ...] | None,
    normalisation: Percentile | AsIs | MinMax | Limits | CTWindow,
    measures_colour: bool,
    slab: str,
    _state: tuple[int, ...],
) -> Image:
    found = _seen(path, axes, channels, normalisation, measures_colour)
    return replace(found, slab=Slab.model_validate_json(slab)) if slab else found


def _slab_text(slab: Slab | None) -> str:
    """Return a slab as JSON, which can be the key of a cache."""
    return "" if slab is None else slab.model_dump_json()


@lru_cache(8)
def _digest(path: Path, _state: tuple[int, ...]) -> str:
    return hash_file(path)


def _state(path: Path) -> tuple[int, ...]:
    try:
        return file_state(path)
    except OSError as error:
        raise BadImageError(path, f"the file cannot be read: {error.strerror or error}") from error


def read_plane(stack: Image, index: tuple[int, ...]) -> Any:
    """Return all channels of a slice, in the order of the array's axes; with a slab, its projection."""

    def read(one: tuple[int, ...]) -> Any:
        at = dict(zip(stack.slice_axes, one, strict=True))
        return stack.levels[0][tuple(at.get(axis, slice(None)) for axis in str(stack.axes))]

    if stack.slab is None:
        return read(index)
    around = stack.slab.indices(index, stack.slice_axes, stack.slice_shape)
    return project(stack.slab, around, lambda one: in_memory(read(one)))


def _slice(stack: Image, index: tuple[int, ...]) -> Image:
    shape = stack.slice_shape
    if len(index) != len(shape) or not all(0 <= i < n for i, n in zip(index, shape, strict=False)):
        raise AxesError(f"There is no slice {index}: axes {stack.slice_axes!r} have {shape} slices.")
    at = dict(zip(stack.slice_axes, index, strict=True))
    axes = str(stack.axes)
    low, high = stack.limits_of(index)
    plane = read_plane(stack, index)
    return Image(
        plane,
        "".join(axis for axis in axes if axis not in at),
        stack.channels or None,
        Limits(low=low, high=high),
        {axis: size for axis, size in stack.spacing.items() if axis not in at},
        {axis: unit for axis, unit in stack.units.items() if axis not in at},
        stack.source,
        stack.channel_names,
        notes=(*stack.notes, *([stack.doubts] if stack.doubts else [])),
        colour=stack.colour,
        whole=stack if stack.is_rgb and not stack.chooses_channels else None,
    )

"""The image of an item: a file, or one slice of it, as a recipe or a provenance wants it seen."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from napari_foundseg.batch.sidecar import digest_of, state_of
from napari_foundseg.core.contrast import CTWindow, Limits, Percentile
from napari_foundseg.core.errors import AxesError, BadImageError
from napari_foundseg.core.image import Image
from napari_foundseg.io.formats.table import is_folder_name
from napari_foundseg.io.readers import read_image

__all__ = ["file_digest", "picture"]


def picture(
    path: Path,
    axes: str | None,
    channels: int | str | tuple[int | str, ...] | None,
    normalisation: Percentile | Limits | CTWindow,
    index: tuple[int, ...] | None = None,
) -> Image:
    """Read an image.

    Parameters
    ----------
    path : Path
        The file.
    axes, normalisation
        As `Image` takes them.
    channels
        As `Image.channel_numbers` takes them.
    index : tuple of int, optional
        The slice, one number for each axis of slices; None for the whole file.

    Returns
    -------
    Image
        A slice has two axes and the grey values of its whole stack.

    Raises
    ------
    BadImageError
        If it cannot be read.
    AxesError
        If it has no such axes, channels or slice.
    """
    if index is None:
        return _seen(path, axes, channels, normalisation)
    # Slice after slice is asked for: the stack is kept, and so are its percentiles.
    return _slice(_stack(path, axes, channels, normalisation, _state(path)), index)


def file_digest(path: Path) -> str:
    """Hash an image's file; that of the last few is known as long as they do not change.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        As `digest_of`.

    Raises
    ------
    BadImageError
        If it is no file that can be read.
    """
    if not path.is_file() and not is_folder_name(path.name):
        # It says what is wrong; a pipe would be waited for, any folder gone through.
        read_image(path)
    return _digest(path, _state(path))


def _seen(
    path: Path,
    axes: str | None,
    channels: int | str | tuple[int | str, ...] | None,
    normalisation: Percentile | Limits | CTWindow,
) -> Image:
    image = read_image(path, axes)
    return replace(image, channels=image.channel_numbers(channels), normalisation=normalisation)


@lru_cache(1)
def _stack(
    path: Path,
    axes: str | None,
    channels: int | str | tuple[int | str, ...] | None,
    normalisation: Percentile | Limits | CTWindow,
    _state: tuple[int, ...],
) -> Image:
    return _seen(path, axes, channels, normalisation)


@lru_cache(8)
def _digest(path: Path, _state: tuple[int, ...]) -> str:
    return digest_of(path)


def _state(path: Path) -> tuple[int, ...]:
    try:
        return state_of(path)
    except OSError as error:
        raise BadImageError(path, f"the file cannot be read: {error.strerror or error}") from error


def _slice(stack: Image, index: tuple[int, ...]) -> Image:
    shape = stack.slice_shape
    if len(index) != len(shape) or not all(0 <= i < n for i, n in zip(index, shape, strict=False)):
        raise AxesError(f"There is no slice {index}: axes {stack.slice_axes!r} have {shape} slices.")
    at = dict(zip(stack.slice_axes, index, strict=True))
    axes = str(stack.axes)
    plane = stack.levels[0][tuple(at.get(axis, slice(None)) for axis in axes)]
    return Image(
        plane,
        "".join(axis for axis in axes if axis not in at),
        stack.channels or None,
        Limits(low=stack.limits[0], high=stack.limits[1]),
        {axis: size for axis, size in stack.spacing.items() if axis not in at},
        {axis: unit for axis, unit in stack.units.items() if axis not in at},
        stack.source,
    )

"""A file's description of its image without the pixels: shape, axes, spacing, units, names of channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from napari_foundseg.io.formats.content import HEADER_ONLY
from napari_foundseg.io.readers import read_image

__all__ = ["ImageFacts", "read_facts"]


@dataclass(frozen=True)
class ImageFacts:
    """A file's description of its image.

    Parameters
    ----------
    shape : tuple of int
        Shape of the finest level, one number for each letter of `axes`.
    dtype : dtype
        Dtype of the pixels.
    axes : str
        Letters of ``QTCZYX``.
    spacing : mapping of str to float
        Size of a pixel along each axis, if the file has it.
    units : mapping of str to str
        Unit of each spacing.
    channel_names : tuple of str
        Names of the channels, if the file has them.
    notes : tuple of str
        Sentences about choices and omissions of the reader.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    axes: str
    spacing: Mapping[str, float]
    units: Mapping[str, str]
    channel_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_facts(path: Path) -> ImageFacts:
    """Read a file's description of its image. The result is cached until the file changes.

    Pixels are not read for TIFF and OME-Zarr, but for other formats they are.

    Raises
    ------
    FoundsegError
        If it cannot be read.
    """
    try:
        found = path.stat()
        state = found.st_mtime_ns, found.st_size
    except OSError:
        state = (0, 0)
    return _read(path, state)


@lru_cache(64)
def _read(path: Path, _state: tuple[int, int]) -> ImageFacts:
    before = HEADER_ONLY.set(True)
    try:
        image = read_image(path)
    finally:
        HEADER_ONLY.reset(before)
    shape = tuple(int(n) for n in image.levels[0].shape)
    names = tuple(image.channel_names)
    sizes = dict(image.spacing), dict(image.units)
    return ImageFacts(shape, image.dtype, str(image.axes), *sizes, names, tuple(image.notes))

"""Images from what the caller passes: arrays, files, folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import AxesError, BadImageError
from napari_foundseg.core.image import Image
from napari_foundseg.io.formats.table import image_ending, image_endings
from napari_foundseg.io.naming import is_image_folder
from napari_foundseg.io.readers import read_image

__all__ = ["as_image", "as_images", "read_folder"]


def as_image(image: Any, axes: str | None = None) -> Image:
    """Convert an array, a path or an `Image` to an `Image`.

    Raises
    ------
    AxesError
        If the axes do not fit, or differ from those of an `Image`.
    BadImageError
        If a file cannot be read.
    """
    if isinstance(image, Image):
        if axes is not None and axes.upper() != image.axes:
            raise AxesError(f"axes={axes!r} was given with an Image that has axes {image.axes!r}; give it once.")
        return image
    return read_image(image, axes) if isinstance(image, str | Path) else Image(image, axes)


def as_images(images: Any, axes: str | None = None) -> list[Image]:
    """Convert one or a list of arrays, paths, folders or `Image` to images; `axes` are those of each.

    Raises
    ------
    AxesError, BadImageError
        As `as_image` and `read_folder`.
    """
    out: list[Image] = []
    for one in images if isinstance(images, list | tuple) else [images]:
        folder = isinstance(one, str | Path) and Path(one).is_dir() and not is_image_folder(Path(one))
        out.extend(read_folder(Path(one)) if folder else [as_image(one, axes)])
    return out


def read_folder(folder: Path) -> list[Image]:
    """Read the images of a folder, sorted by name; large ones are opened without reading their pixels.

    Raises
    ------
    BadImageError
        If it is no folder, holds no images, or one of them cannot be read.
    """
    if not folder.is_dir():
        raise BadImageError(folder, "is not a folder; choose one with images")
    files = sorted(path for path in folder.iterdir() if image_ending(path.name))
    if not files:
        raise BadImageError(folder, f"holds no images ({', '.join(sorted(image_endings()))})")
    return [read_image(path) for path in files]

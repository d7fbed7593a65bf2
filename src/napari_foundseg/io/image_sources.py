"""Make images from the caller's arrays, files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import AxesError, BadImageError
from napari_foundseg.core.image import Image
from napari_foundseg.io.formats.table import image_endings
from napari_foundseg.io.image_listing import images_of, list_images
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
    """Convert one or a list of arrays, paths, folders or `Image` to images. `axes` apply to each.

    Raises
    ------
    AxesError, BadImageError
        As in `as_image` and `read_folder`.
    """
    out: list[Image] = []
    for one in images if isinstance(images, list | tuple) else [images]:
        path = Path(one) if isinstance(one, str | Path) else None
        if path is None:
            out.append(as_image(one, axes))
        elif path.is_dir() and not is_image_folder(path):
            out.extend(read_folder(path))
        else:
            out.extend(as_image(inside, axes) for inside in images_of(path).paths)
    return out


def read_folder(folder: Path) -> list[Image]:
    """Read the images of a folder, as `image_listing` lists them. Pixels of large images are not read yet.

    Raises
    ------
    BadImageError
        If it is not a folder, contains no images, or one of them cannot be read.
    """
    if not folder.is_dir():
        raise BadImageError(folder, "is not a folder; choose one with images")
    try:
        files = list_images(folder)
    except OSError as error:
        raise BadImageError(folder, f"cannot be read ({error.strerror or error}); check its permissions") from error
    if not files:
        raise BadImageError(folder, f"holds no images ({', '.join(sorted(image_endings()))})")
    return [read_image(inside) for path in files for inside in images_of(path).paths]

"""Images as people give them: arrays, files, folders."""

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
    """Return an image of what was given for it.

    Parameters
    ----------
    image : array-like or Image or str or Path
        An array, or the file it is in.
    axes : str, optional
        Its axes.

    Returns
    -------
    Image
        The image.

    Raises
    ------
    AxesError
        If the axes do not fit, or are given with an `Image` that has others.
    BadImageError
        If a file cannot be read.
    """
    if isinstance(image, Image):
        if axes is not None and axes.upper() != image.axes:
            raise AxesError(f"axes={axes!r} was given with an Image that has axes {image.axes!r}; give it once.")
        return image
    return read_image(image, axes) if isinstance(image, str | Path) else Image(image, axes)


def as_images(given: Any, axes: str | None = None) -> list[Image]:
    """Return the images of what was given for one or several.

    Parameters
    ----------
    given : array-like, Image, str, Path, or a list of these
        A path may be that of a folder.
    axes : str, optional
        Of each image.

    Returns
    -------
    list of Image
        In the order given, those of a folder by name.

    Raises
    ------
    AxesError, BadImageError
        As `as_image` and `read_folder`.
    """
    out: list[Image] = []
    for one in given if isinstance(given, list | tuple) else [given]:
        folder = isinstance(one, str | Path) and Path(one).is_dir() and not is_image_folder(Path(one))
        out.extend(read_folder(Path(one)) if folder else [as_image(one, axes)])
    return out


def read_folder(folder: Path) -> list[Image]:
    """Return the images of a folder, by name.

    Parameters
    ----------
    folder : Path
        The folder.

    Returns
    -------
    list of Image
        Read when their pixels are asked for, where the format allows it.

    Raises
    ------
    BadImageError
        If there is none, or one cannot be read.
    """
    if not folder.is_dir():
        raise BadImageError(folder, "is not a folder; choose one with images")
    files = sorted(path for path in folder.iterdir() if image_ending(path.name))
    if not files:
        raise BadImageError(folder, f"holds no images ({', '.join(sorted(image_endings()))})")
    return [read_image(path) for path in files]

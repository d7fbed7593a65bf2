"""Read images and label images from files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_foundseg.core.arrays import is_next_level
from napari_foundseg.core.errors import BadImageError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.io.formats.content import FileContent, check_memory
from napari_foundseg.io.formats.file_format import FileHead, Format
from napari_foundseg.io.formats.foreign_files import name_foreign_file
from napari_foundseg.io.formats.sample_meaning import interpret
from napari_foundseg.io.formats.table import image_ending, image_endings, image_formats, images_inside, listed
from napari_foundseg.io.naming import address_of, file_of, is_address

__all__ = ["read_image", "read_labels", "read_stored"]


def read_image(path: str | Path, axes: str | None = None) -> Image:
    """Read an image from a TIFF (OME-TIFF, BigTIFF, ImageJ), PNG or JPEG file or an OME-Zarr folder.

    Large TIFFs are opened and read slice by slice, OME-Zarr chunk by chunk. The format is recognised from the content
    of the file, not from its name.

    Parameters
    ----------
    path : str or Path
        The file or folder. If it contains several images, the path of one of them, such as ``plate.ome.zarr/A/2/0`` or
        ``a.ome.tif/1``.
    axes : str, optional
        One letter of ``QTCZYX`` for every axis; by default those of the file. Axes of size 1 without a letter are
        dropped.

    Returns
    -------
    Image
        The image with spacing, units and names of channels from the file, and `path` as its source. If the file
        contains several images, it is the largest one, whose own path is the source, and `notes` names the others.

    Raises
    ------
    BadImageError
        If the file is missing, damaged, of another format, or does not fit into the memory.
    AxesError
        If the axes do not fit the file.
    """
    path = Path(path)
    content = interpret(_read(path, axes))
    return Image(
        _levels(content),
        content.axes,
        content.chosen,
        spacing=content.spacing,
        units=content.units,
        source=str(path / content.inside),
        channel_names=content.channels,
        notes=content.notes,
    )


def read_labels(path: str | Path) -> FileContent:
    """Read a label image, with the colours and properties of its objects if the file has them.

    Parameters
    ----------
    path : str or Path
        A file or folder that `read_image` reads.

    Returns
    -------
    FileContent
        The finest level in memory, as a writable array of unsigned integers of at least 16 bits.

    Raises
    ------
    BadImageError
        If it cannot be read, does not fit into memory, or has values that are not ids of objects.
    AxesError
        If its axes are ambiguous.
    """
    path = Path(path)
    content = read_stored(path)
    pixels = content.data
    if pixels.dtype.kind not in "bui" or pixels.min(initial=0) < 0 or "C" in content.axes:
        raise BadImageError(
            path, f"it holds {pixels.dtype} pixels of axes {content.axes}, not ids of objects; open it as an image"
        )
    labels = np.array(pixels, label_dtype(int(pixels.max(initial=0))))
    return replace(content, data=labels)


def read_stored(path: str | Path) -> FileContent:
    """Read the finest level of an image into memory, with the values that the file stores.

    Unlike in `read_image`, palettes, for example, are not applied, since the values of label images are ids.

    Parameters
    ----------
    path : str or Path
        A file or folder that `read_image` reads.

    Returns
    -------
    FileContent
        The content, with an ndarray as `data`.

    Raises
    ------
    BadImageError
        If it cannot be read, or does not fit into the memory.
    AxesError
        If its axes are ambiguous.
    """
    path = Path(path)
    content = open_stored(path)
    check_memory(path, content.data.shape, content.data.dtype.itemsize)
    return replace(content, data=np.asarray(content.data))


def open_stored(path: str | Path, axes: str | None = None) -> FileContent:
    """Open the finest level of an image like `read_stored`, but without reading its pixels if the file allows that."""
    content = _read(Path(path), axes)
    return replace(content, data=content.data[0] if isinstance(content.data, list) else content.data)


def _levels(content: FileContent) -> Any:
    """Return the pixels, or the levels of a pyramid up to the first that is not one, such as the label of a slide."""
    if not isinstance(content.data, list):
        return content.data
    at = [content.axes.index(axis) for axis in "YX"]
    kept = content.data[:1]
    for level in content.data[1:]:
        before, after = ((one.shape[at[0]], one.shape[at[1]]) for one in (kept[-1], level))
        if not is_next_level(before, after):
            break
        kept.append(level)
    return kept if len(kept) > 1 else kept[0]


def _read(path: Path, axes: str | None) -> FileContent:
    if is_address(path):
        raise BadImageError(
            address_of(path), "this is an address (URL), which is not read; download the file and give its name"
        )
    head = FileHead(file_of(path))
    files = [row for row in image_formats() if not row.folder]
    folders = [row for row in image_formats() if row.folder]
    # A folder of any name is read if it is an image.
    if read := _reader(folders, head):
        return read(path, axes)
    start = _start_of(head, [row.name for row in folders])
    if head.path != path and not images_inside(head.path):
        raise BadImageError(path, f"{head.path.name} holds one image only; give the file itself")
    if read := _reader(files, head):
        return read(path, axes)
    names = listed([row.name for row in files])
    what = name_foreign_file(head.read(64)) or f"it starts with {start!r}"
    raise BadImageError(path, f"this is not a {names} file, despite its name; {what}")


def _reader(rows: Iterable[Format], head: FileHead) -> Callable[[Path, str | None], FileContent] | None:
    return next((row.read for row in rows if row.recognises is not None and row.recognises(head)), None)


def _start_of(head: FileHead, folders: list[str]) -> bytes:
    """Return the first bytes of a file for messages, or raise the error with the reason why it cannot be read."""
    path = head.path
    if not image_ending(path.name):
        named = path.suffix or "without extension"
        raise BadImageError(path, f"files named {named} are not read; {', '.join(image_endings())} are")
    try:
        # Check this before opening: opening a pipe blocks until another process writes to it.
        regular = path.is_file() or not path.exists()
        start = head.read(8) if regular else b""
    except FileNotFoundError as error:
        raise BadImageError(path, "there is no such file; check the name") from error
    except PermissionError as error:
        raise BadImageError(path, "reading is not permitted; check the file's permissions") from error
    except (OSError, ValueError) as error:
        raise BadImageError(path, f"the file cannot be opened: {error}") from error
    if not regular:
        raise BadImageError(
            path, f"this is a folder or a device, not a file; only folders of {listed(folders)} are images"
        )
    if not start:
        raise BadImageError(path, "the file is empty (0 bytes); copy it again")
    return start

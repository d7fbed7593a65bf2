"""Images from files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.io.formats.content import Content, check_memory
from napari_foundseg.io.formats.ome_zarr import is_ome_zarr, read_ome_zarr
from napari_foundseg.io.formats.png_jpeg import JPEG, PNG, read_picture
from napari_foundseg.io.formats.tiff import read_tiff

__all__ = ["EXTENSIONS", "read_image", "read_labels"]

#: The file name extensions that are read; a folder of any name is read where it is an OME-Zarr image.
EXTENSIONS = (".tif", ".tiff", ".btf", ".tf8", ".png", ".jpg", ".jpeg", ".zarr")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_image(path: str | Path, axes: str | None = None) -> Image:
    """Read an image from a TIFF (OME-TIFF, BigTIFF, ImageJ), PNG or JPEG file or an OME-Zarr folder.

    Large TIFFs are opened and read slice by slice, OME-Zarr chunk by chunk. What kind a file is, its first bytes say.

    Parameters
    ----------
    path : str or Path
        The file or folder.
    axes : str, optional
        One letter of ``QTCZYX`` for every axis; by default what the file says. Other axes of size 1 are dropped.

    Returns
    -------
    Image
        With spacing, units and names of channels where the file has them, and `path` as its source.

    Raises
    ------
    BadImageError
        If the file is missing, damaged, of another kind, or needs more memory than there is.
    AxesError
        If the axes do not fit the file.
    """
    path = Path(path)
    content = _read(path, axes)
    return Image(
        content.data,
        content.axes,
        spacing=content.spacing,
        units=content.units,
        source=str(path),
        channel_names=content.channels,
    )


def read_labels(path: str | Path) -> Content:
    """Read a label image, and what its file says of its objects.

    Parameters
    ----------
    path : str or Path
        A file or folder that `read_image` reads.

    Returns
    -------
    Content
        The finest level in memory, as unsigned integers of at least 16 bits, which may be written to.

    Raises
    ------
    BadImageError
        If it cannot be read, needs more memory than there is, or holds values that are no ids of objects.
    AxesError
        If its axes cannot be told apart.
    """
    path = Path(path)
    content = _read(path, None)
    lazy = content.data[0] if isinstance(content.data, list) else content.data
    check_memory(path, lazy.shape, lazy.dtype.itemsize)
    pixels = np.asarray(lazy)
    if pixels.dtype.kind not in "bui" or pixels.min(initial=0) < 0 or "C" in content.axes:
        raise BadImageError(
            path, f"it holds {pixels.dtype} pixels of axes {content.axes}, not ids of objects; open it as an image"
        )
    labels = np.array(pixels, label_dtype(int(pixels.max(initial=0))))
    return replace(content, data=labels)


def _read(path: Path, axes: str | None) -> Content:
    if is_ome_zarr(path):
        return read_ome_zarr(path, axes)
    start = _start_of(path)
    if start.startswith(_TIFF):
        return read_tiff(path, axes)
    if start.startswith((PNG, JPEG)):
        return read_picture(path, axes)
    raise BadImageError(path, f"this is no TIFF, PNG or JPEG file, whatever its name; it starts with {start!r}")


def _start_of(path: Path) -> bytes:
    if path.suffix.lower() not in EXTENSIONS:
        raise BadImageError(path, f"files named {path.suffix or 'without extension'} are not read; {_known()} are")
    try:
        # Asked first, since opening a pipe waits for ever.
        regular = path.is_file() or not path.exists()
        start = _first_bytes(path) if regular else b""
    except FileNotFoundError as error:
        raise BadImageError(path, "there is no such file; check the name") from error
    except PermissionError as error:
        raise BadImageError(path, "reading is not permitted; check the file's permissions") from error
    except (OSError, ValueError) as error:
        raise BadImageError(path, f"the file cannot be opened: {error}") from error
    if not regular:
        raise BadImageError(path, "this is a folder or a device, not a file; only folders of OME-Zarr are images")
    if not start:
        raise BadImageError(path, "the file is empty (0 bytes); copy it again")
    return start


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _known() -> str:
    return ", ".join(EXTENSIONS)

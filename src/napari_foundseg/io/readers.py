"""Images from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.core.image import Image
from napari_foundseg.io.memory import available_memory, in_words
from napari_foundseg.io.tiff import read_tiff

__all__ = ["EXTENSIONS", "read_image"]

#: The file name extensions that are read.
EXTENSIONS = (".tif", ".tiff", ".btf", ".tf8", ".png", ".jpg", ".jpeg")
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: Pillow's modes that NumPy takes as they are; every other mode is made RGB.
_KEPT_MODES = {"1", "L", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}


def read_image(path: str | Path, axes: str | None = None) -> Image:
    """Read an image from a TIFF (OME-TIFF, BigTIFF, ImageJ), PNG or JPEG file.

    Large TIFFs are opened and read slice by slice. What kind a file is, its first bytes say.

    Parameters
    ----------
    path : str or Path
        The file.
    axes : str, optional
        One letter of ``QTCZYX`` for every axis; by default what the file says. Other axes of size 1 are dropped.

    Returns
    -------
    Image
        With spacing and units where the file has them, and `path` as its source.

    Raises
    ------
    BadImageError
        If the file is missing, damaged, of another kind, or needs more memory than there is.
    AxesError
        If the axes do not fit the file.
    """
    path = Path(path)
    start = _start_of(path)
    if start.startswith(_TIFF):
        content = read_tiff(path, axes)
        return Image(content.data, content.axes, spacing=content.spacing, units=content.units, source=str(path))
    if start.startswith((_PNG, _JPEG)):
        return Image(_read_picture(path), axes, source=str(path))
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
        raise BadImageError(path, "this is a folder or a device, not a file; give the name of an image file")
    if not start:
        raise BadImageError(path, "the file is empty (0 bytes); copy it again")
    return start


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _known() -> str:
    return ", ".join(EXTENSIONS)


def _read_picture(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file, _opened(file) as picture:
            _check_size(path, picture)
            return _pixels(picture)
    except BadImageError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise BadImageError(path, f"the file is damaged ({reason}); copy it again") from error


def _opened(file: Any) -> Any:
    """Open by the format's own class: `PIL.Image.open` refuses large slides by a fixed number of pixels."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    start = file.read(8)
    file.seek(0)
    return PngImageFile(file) if start == _PNG else JpegImageFile(file)


def _check_size(path: Path, picture: Any) -> None:
    """Refuse before anything is allocated: a header may claim any size."""
    width, height = picture.size
    # Four bytes a pixel inside Pillow, as many again in the array.
    needed, available = 8 * width * height, available_memory()
    if needed > available:
        raise BadImageError(
            path,
            f"{height} by {width} pixels need {in_words(needed)}, but only {in_words(available)} of memory are free; "
            "cut the image into parts, or copy the file again if it should be smaller",
        )


def _pixels(picture: Any) -> NDArray[Any]:
    """Return grey as (M, N) and colour as (M, N, 3) or (M, N, 4); palettes are looked up."""
    if picture.mode == "LA":
        return np.asarray(picture.getchannel(0))
    if picture.mode in _KEPT_MODES:
        return np.asarray(picture)
    colours = np.asarray(picture.convert("RGB"))
    grey = picture.mode == "P" and (colours == colours[..., :1]).all()
    return colours[..., 0].copy() if grey else colours

"""PNG and JPEG through Pillow, with all 16 bits where Pillow returns only 8.

`integrity` checks a file from beginning to end before Pillow opens it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.formats.content import (
    FileContent,
    check_memory,
    colours_from_text,
    colours_to_text,
    damaged_error,
)
from napari_foundseg.io.formats.file_format import FileHead, Format
from napari_foundseg.io.formats.integrity.jpeg_scans import checked_jpeg
from napari_foundseg.io.formats.integrity.png_chunks import check_png
from napari_foundseg.io.formats.sample_meaning import orientation_notes

__all__ = ["FORMATS", "read_picture", "write_png"]

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
#: Keyword of the text chunk with spacing, units and colours as JSON, in a PNG of labels.
_NOTE = "napari-foundseg"
#: Pillow modes that NumPy converts unchanged. Every other mode is converted to RGB.
_KEPT_MODES = {"1", "L", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}
#: Layouts of 16-bit colour, of which Pillow returns the high bytes only. If the data are decoded as the layouts on the
#: right, Pillow returns the high and the low bytes.
_SIXTEEN_BITS = {"RGB;16B": ("RGB;16B", "RGB;16L"), "RGBA;16B": ("RGBA;16B", "RGBA;16L"), "LA;16B": ("RGBA",)}
_ORIENTATION = 0x0112
#: The tag of MPO for the number of pictures.
_FRAMES = 0xB001
#: Errors of Pillow for damaged metadata. Pixels are decoded before.
_METADATA_ERRORS = (ValueError, TypeError, LookupError, SyntaxError, OSError, struct.error)


def read_picture(path: Path, axes: str | None) -> FileContent:
    """Read grey pixels as (M, N), colour as (M, N, 3) or (M, N, 4), in the order of the file.

    The Exif orientation is not applied, since napari's own reader, Fiji and QuPath do not apply it either.

    Raises
    ------
    BadImageError
        If the file is damaged or does not fit into memory.
    """
    try:
        with _checked(path) as file:
            with _opened(file) as picture:
                layouts = _SIXTEEN_BITS.get(_layout(picture), ())
                pixels = _decoded_as(picture, layouts[0]) if layouts else _pixels(picture)
                # Read metadata last: they may follow the pixels, and Pillow decodes the pixels to find them.
                note = picture.info.get(_NOTE)
                orientation = _orientation(picture)
                frames = _frame_count(picture)
            if layouts:
                pixels = _sixteen_bits(pixels, file, layouts)
    except BadImageError:
        raise
    except Exception as error:
        raise damaged_error(path, error) from error
    named = "YXC"[: pixels.ndim] if axes is None else axes
    others = (f"The file holds {frames} pictures: the first is read.",) if frames > 1 else ()
    content = FileContent(pixels, named, notes=(*others, *orientation_notes(orientation)))
    # Another program may use the same keyword for something else.
    with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
        _add_note(content, json.loads(note))
    return content


def _checked(path: Path) -> BinaryIO:
    """Open a file that is complete and whose pixels fit into memory; raise `BadImageError` for others."""
    file: BinaryIO = path.open("rb")
    try:
        if file.read(len(_PNG_MAGIC)) == _PNG_MAGIC:
            check_png(path, file)
            return file
        check_memory(path, (path.stat().st_size,), 1)
        file.seek(0)
        data = file.read()
    except BaseException:
        file.close()
        raise
    file.close()
    return BytesIO(checked_jpeg(path, data))


def _opened(file: BinaryIO) -> Any:
    """Open a file with its format's class, since `PIL.Image.open` refuses images above a fixed number of pixels."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    file.seek(0)
    start = file.read(8)
    file.seek(0)
    return PngImageFile(file) if start == _PNG_MAGIC else JpegImageFile(file)


def _layout(picture: Any) -> Any:
    return picture.tile[0].args if picture.format == "PNG" and picture.tile else None


def _pixels(picture: Any) -> NDArray[Any]:
    """Return 8-bit pixels, or 16-bit grey ones. Palettes are applied."""
    if picture.mode == "LA":
        return np.asarray(picture.getchannel(0))
    if picture.mode in _KEPT_MODES:
        return np.asarray(picture)
    if picture.mode == "P":
        _check_palette(np.asarray(picture), len(picture.palette.palette) // 3)
    colours = np.asarray(picture.convert("RGB"))
    grey = picture.mode == "P" and (colours == colours[..., :1]).all()
    return colours[..., 0].copy() if grey else colours


def _check_palette(indices: NDArray[Any], colours: int) -> None:
    """Raise ValueError for pixels of a colour that is not in the palette, which Pillow would show in black."""
    if (largest := int(indices.max())) >= colours:
        raise ValueError(f"a pixel has colour {largest} of a palette with colours 0 to {colours - 1}")


def _decoded_as(picture: Any, layout: str) -> NDArray[Any]:
    picture.tile = [tile._replace(args=layout) for tile in picture.tile]
    return np.asarray(picture)


def _sixteen_bits(first: NDArray[Any], file: BinaryIO, layouts: Sequence[str]) -> NDArray[np.uint16]:
    """Combine the high and the low bytes of a 16-bit colour PNG, which is decoded twice for that."""
    if len(layouts) == 1:
        # Grey with opacity, decoded as RGBA, is: high and low byte of grey, high and low byte of opacity.
        return np.asarray(first[..., 0].astype(np.uint16) << 8 | first[..., 1], np.uint16)
    with _opened(file) as picture:
        low = _decoded_as(picture, layouts[1])
    return np.asarray(first.astype(np.uint16) << 8 | low, np.uint16)


def _frame_count(picture: Any) -> int:
    """Return the number of pictures in an animated PNG or a JPEG of several (MPO)."""
    if picture.format == "PNG":
        return int(getattr(picture, "n_frames", 1))
    # A camera may append a preview or a second view to its JPEG.
    with suppress(*_METADATA_ERRORS):
        return int((picture._getmp() or {}).get(_FRAMES, 1))
    return 1


def _orientation(picture: Any) -> int:
    """Return the Exif orientation, 1 to 8; 1 if it is missing or damaged."""
    with suppress(*_METADATA_ERRORS):
        return int(picture.getexif().get(_ORIENTATION, 1))
    return 1


def _add_note(content: FileContent, note: dict[str, Any]) -> None:
    # Read all of the note before any of it is used, so that a damaged note is ignored as a whole.
    spacing = {axis: float(size) for axis, size in note["spacing"].items() if axis in content.axes}
    if not all(isfinite(size) and size > 0 for size in spacing.values()):
        raise ValueError(spacing)
    units = {axis: str(unit) for axis, unit in note["units"].items() if axis in spacing}
    colours = colours_from_text(note["colours"])
    content.spacing = spacing
    content.units = units
    content.colours = colours


def write_png(path: Path, content: FileContent) -> None:
    """Write one slice of labels as a grey PNG of 16 bits.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import PIL.Image
    from PIL.PngImagePlugin import PngInfo

    labels = content.data.T if content.axes == "XY" else content.data
    info = PngInfo()
    note = {"spacing": content.spacing, "units": content.units, "colours": colours_to_text(content.colours)}
    if any(note.values()):
        info.add_text(_NOTE, json.dumps(note))
    with atomic_write(path) as file:
        PIL.Image.fromarray(labels.astype(np.uint16)).save(file, "PNG", optimize=True, pnginfo=info)


def _is_png(head: FileHead) -> bool:
    return head.read(len(_PNG_MAGIC)) == _PNG_MAGIC


def _is_jpeg(head: FileHead) -> bool:
    return head.read(len(_JPEG_MAGIC)) == _JPEG_MAGIC


FORMATS = (
    Format(
        name="PNG",
        read_endings=(".png",),
        recognises=_is_png,
        read=read_picture,
        write_endings=(".png",),
        write=write_png,
        axes="YX",
        largest_id=65535,
        order=30,
    ),
    Format(name="JPEG", read_endings=(".jpg", ".jpeg"), recognises=_is_jpeg, read=read_picture, order=40),
)

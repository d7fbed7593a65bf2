"""What is wrong with a TIFF that cannot be read, and what helps."""

from __future__ import annotations

import struct
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats.content import damaged_error

__all__ = ["check_chain", "check_segments", "tiff_error"]

#: Above this number of entries a page is none: there are a few hundred tags.
_MOST_ENTRIES = 4096
#: The types of values of entries.
_TYPES = range(1, 19)
#: Pages of a series whose strips and tiles are looked at.
_PAGES = 1024


def tiff_error(path: Path, error: Exception) -> BadImageError:
    """Return the error for a TIFF that tifffile does not read: damaged, or of a kind for which something is missing."""
    words = str(error)
    if "COMPRESSION" in words or "imagecodecs" in words or "codec" in words.lower():
        return BadImageError(
            path,
            f"it is compressed in a way that is not read here ({words}). A newer decoder may: pip install --upgrade "
            "imagecodecs tifffile; or save it with another compression, such as LZW or ZIP",
        )
    if "subsampling" in words:
        return BadImageError(path, "it holds YCbCr with fewer values of colour, without JPEG; save it as RGB")
    if "data type not supported" in words or "sample formats do not match" in words:
        return BadImageError(path, f"its values are of a type that is not read ({words}); export it with 8 or 16 bits")
    return damaged_error(path, error)


def check_segments(path: Path, series: Any) -> tuple[str, ...]:
    """Raise a BadImageError where strips or tiles end behind the file; say how many are not in the file.

    tifffile reads those that are not there as 0, and libraries fill a picture that ends early with grey.
    """
    missing = 0
    total = 0
    for page in islice(series.pages, _PAGES):
        if page is None:
            continue
        size = page.parent.filehandle.size
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            total += 1
            missing += not (offset and count)
            if offset + count > size:
                words = f"its pixels go on to byte {offset + count}, and it has {size}"
                raise BadImageError(path, f"the file is truncated: {words}; copy it again")
    return (f"{missing} of its {total} strips or tiles are not in the file and are read as 0.",) if missing else ()


def _is_page(file: BinaryIO, order: str, entries: int) -> bool:
    """Tell by its number of entries and its first one whether a page begins here; the file stays where it is."""
    start = file.tell()
    first = file.read(4)
    file.seek(start)
    return 0 < entries <= _MOST_ENTRIES and (len(first) < 4 or struct.unpack(order + "HH", first)[1] in _TYPES)


def check_chain(path: Path, file: BinaryIO) -> None:
    """Follow the pages to the last one: tifffile reads a file that is cut between two pages without an error."""
    # TIFF: bytes 4 to 8 are the offset of the first page. BigTIFF (version 43): bytes 8 to 16. A page is the number
    # of its entries, the entries (12 or 20 bytes each), and the offset of the next page, 0 at the last.
    header = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(header[:2], "<")
    big = len(header) == 16 and struct.unpack(order + "H", header[2:4])[0] == 43
    count, entry, offset = ("Q", 20, "Q") if big else ("H", 12, "I")
    visited: set[int] = set()
    position = file.tell()
    try:
        (position,) = struct.unpack_from(order + offset, header, 8 if big else 4)
        while position:
            if position in visited:
                raise BadImageError(path, "the file is damaged: its pages form a loop; copy it again")
            file.seek(position)
            (entries,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
            if visited and not _is_page(file, order, entries):
                words = f"behind its {len(visited)} pages are bytes that are no page (at {position})"
                raise BadImageError(path, f"{words}; the pages may be whole: open it in Fiji and save it again")
            visited.add(position)
            file.seek(entry * entries, 1)
            (position,) = struct.unpack(order + offset, file.read(struct.calcsize(order + offset)))
    except (struct.error, OverflowError, OSError, ValueError) as error:
        if isinstance(error, BadImageError):
            raise
        raise BadImageError(path, f"the file is truncated after {len(visited)} pages; copy it again") from error

"""Checks of a TIFF's pages before tifffile opens it, and the error with a remedy for an unreadable TIFF."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats.content import damaged_error
from napari_foundseg.io.formats.integrity.plane_counts import check_index, check_ome_xml, check_xml_text

__all__ = ["open_tiff", "tiff_error"]

#: Most entries of a page. There are a few hundred tags.
_MOST_ENTRIES = 4096
#: Bytes of a value by type.
_TYPES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 2, 8, 8, 8, 8), 1))
#: The tags that every image has: width and length.
_SIZES = {256, 257}
#: Bytes that tags may claim beyond the size of the file, since some programs let pages share a table.
_SHARED = 1 << 26
#: A file with more pages than this must have this many bytes per page, since tifffile keeps all pages in memory.
_MANY_PAGES = 1 << 14
_PAGE_BYTES = 512


def tiff_error(path: Path, error: Exception) -> BadImageError:
    """Return the error for a TIFF that tifffile cannot read: damaged, or compressed or coded in an unsupported way."""
    words = str(error)
    if "COMPRESSION" in words or "imagecodecs" in words or "codec" in words.lower():
        return BadImageError(
            path,
            f"it is compressed in an unsupported way ({words}). A newer decoder may: pip install --upgrade "
            "imagecodecs tifffile; or save it with another compression, such as LZW or ZIP",
        )
    if "subsampling" in words:
        return BadImageError(path, "it holds YCbCr with fewer values of colour, without JPEG; save it as RGB")
    if "data type not supported" in words or "sample formats do not match" in words:
        return BadImageError(path, f"its values are of an unsupported type ({words}); export it with 8 or 16 bits")
    return damaged_error(path, error)


def open_tiff(path: Path, file: Path, metadata: str | None) -> Any:
    """Open a TIFF after a check that its pages and metadata do not fill the memory.

    Parameters
    ----------
    path : Path
        The image, for error messages.
    file : Path
        The file.
    metadata : str or None
        OME-XML from another file.

    Returns
    -------
    tifffile.TiffFile
        The open file.

    Raises
    ------
    BadImageError
        If it is damaged.
    """
    import tifffile

    with file.open("rb") as opened:
        _check_chain(path, opened)
    try:
        tiff = tifffile.TiffFile(file, omexml=metadata)
    except Exception as error:
        raise damaged_error(path, error) from error
    try:
        # tifffile uses these metadata to find images.
        if tiff.is_ome:
            check_ome_xml(path, metadata or tiff.ome_metadata or "")
        if tiff.is_micromanager:
            check_index(path, tiff.micromanager_metadata or {})
        for text in (tiff.pages.first.description, tiff.pages.first.description1):
            check_xml_text(path, text or "")
    except BadImageError:
        tiff.close()
        raise
    except Exception as error:
        tiff.close()
        raise damaged_error(path, error) from error
    return tiff


def _check_chain(path: Path, file: BinaryIO) -> None:
    """Follow the chain of pages to the last one, before tifffile opens the file.

    tifffile reads a file that is cut between two pages without an error. It also allocates memory for all values that
    the tags claim.

    Raises
    ------
    BadImageError
        If the file is cut, if its pages form a loop or lead to something else, or if their tags claim more bytes than
        it has.
    """
    # TIFF: bytes 4 to 8 are the offset of the first page. BigTIFF (version 43): bytes 8 to 16. A page is the number
    # of its entries, the entries (12 or 20 bytes each), and the offset of the next page, 0 at the last.
    size = file.seek(0, 2)
    file.seek(0)
    header = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(header[:2], "<")
    big = len(header) == 16 and struct.unpack(order + "H", header[2:4])[0] == 43
    count, entry, offset = ("Q", order + "HHQQ", "Q") if big else ("H", order + "HHII", "I")
    visited: set[int] = set()
    claimed = 0
    try:
        (position,) = struct.unpack_from(order + offset, header, 8 if big else 4)
        while position:
            if position in visited:
                raise BadImageError(path, "the file is damaged: its pages form a loop; copy it again")
            file.seek(position)
            (entries,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
            width = struct.calcsize(entry)
            found = file.read(width * min(entries, _MOST_ENTRIES))
            cut = len(found) < width * entries
            rows = list(struct.iter_unpack(entry, found[: len(found) // width * width]))
            if visited and not _is_page(rows, entries, cut):
                words = f"behind its {len(visited)} pages are bytes that are not a page (at {position})"
                raise BadImageError(path, f"{words}; the pages may be whole: open it in Fiji and save it again")
            if cut:
                raise _truncated(path, len(visited))
            visited.add(position)
            claimed += sum(_TYPES.get(kind, 1) * values for _, kind, values, _ in rows)
            if claimed > 4 * size + _SHARED:
                raise BadImageError(
                    path, f"the file is damaged: its tags claim {claimed} bytes, and it has {size}; copy it again"
                )
            (position,) = struct.unpack(order + offset, file.read(struct.calcsize(order + offset)))
    except (struct.error, OverflowError, OSError, ValueError) as error:
        if isinstance(error, BadImageError):
            raise
        raise _truncated(path, len(visited)) from error
    if len(visited) > max(_MANY_PAGES, size // _PAGE_BYTES):
        raise BadImageError(
            path,
            f"it holds {len(visited)} pages in {size} bytes: that many small ones are not supported; save it again",
        )


def _is_page(rows: Sequence[tuple[int, ...]], entries: int, cut: bool) -> bool:
    """Tell from the entries whether a page starts here. Other readers stop where there is none."""
    known = all(kind in _TYPES for _, kind, _, _ in rows[:1])
    return 0 < entries <= _MOST_ENTRIES and known and (cut or {tag for tag, *_ in rows} >= _SIZES)


def _truncated(path: Path, pages: int) -> BadImageError:
    return BadImageError(path, f"the file is truncated after {pages} pages; copy it again")

"""Checks of the parts of a JPEG: whether all its pixels can be there, before anything is decoded.

libjpeg fills missing pixels with grey and only warns, and no library passes the warning on. A JPEG has no checksum, so
damage that leaves its parts in order is not detected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats.content import check_memory

__all__ = ["JpegScans", "checked_jpeg", "read_scans"]

_EOI = 0xD9
_SOS = 0xDA
_DRI = 0xDD
_ALONE = {0x01, 0xD8, *range(0xD0, 0xD8)}
#: Markers of frames: of one scan, of several (progressive), and with arithmetic coding, which has no least size.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1)
_ARITHMETIC = range(0xC9, 0xD0)
#: Markers that may follow a scan of several: tables, texts, another scan, the number of lines, the end.
_AFTER_SCAN = {0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, _EOI, *range(0xE0, 0xF0)}
#: A marker in the data of a scan. With a restart interval, restart markers are part of the data.
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_MARKER_BUT_RESTART = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
#: Most scans. Progressive pictures have about ten, and each takes a pass over all pixels.
_MOST_SCANS = 500
#: Bytes that a decoder needs after the last pixel.
_PADDING = bytes(16)
#: Bytes per pixel during decoding: Pillow's four, and with several scans also the coefficients.
_DECODED = 4
_DECODED_IN_SCANS = 12


@dataclass
class JpegScans:
    """The results of `read_scans`.

    Parameters
    ----------
    frame : int
        Marker of its frame.
    height, width : int
        Rows and columns.
    factors : list of tuple of int
        Sampling factors of each component, horizontal and vertical.
    end : int
        The end of its pixels: at the end marker, or at the first marker after the only scan.
    in_one_scan : bool
        Whether all components are in one scan that is decoded row by row.
    """

    frame: int = 0
    height: int = 0
    width: int = 0
    factors: list[tuple[int, int]] = field(default_factory=list)
    end: int = 0
    in_one_scan: bool = False


def checked_jpeg(path: Path, data: bytes) -> bytes:
    """Return the bytes of a JPEG's first picture, cut so that a decoder reports missing pixels as an error.

    Raises
    ------
    BadImageError
        If it is truncated, its parts are out of order, or it does not fit into memory.
    """
    scans = read_scans(path, data)
    check_memory(path, (scans.height, scans.width), _DECODED if scans.in_one_scan else _DECODED_IN_SCANS)
    if not scans.in_one_scan:
        return data[: scans.end]
    # Without the end marker, a decoder that needs more pixels runs out of bytes, which is an error.
    return data[: scans.end] + _PADDING


def read_scans(path: Path, data: bytes, tables_apart: bool = False) -> JpegScans:
    """Follow the parts of a JPEG's first picture to its end.

    Parameters
    ----------
    path : Path
        The file, for error messages.
    data : bytes
        The bytes from the start marker on.
    tables_apart : bool
        Whether it may have no pixels, as for the tables that strips of a TIFF share.

    Raises
    ------
    BadImageError
        If it is truncated, or its scans cannot encode as many pixels as it claims.
    """
    found = JpegScans()
    position = 2
    scans = 0
    interval = 0
    while True:
        position = data.find(b"\xff", position)
        while 0 <= position < len(data) - 1 and data[position + 1] == 0xFF:
            position += 1
        if not 0 <= position < len(data) - 1:
            raise _truncated(path)
        marker = data[position + 1]
        if marker == _EOI and (scans or tables_apart):
            found.end = position + 2
            return found
        if marker in _ALONE or not marker:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4])
        content = data[position + 4 : position + 2 + length]
        position += 2 + length
        if marker == _EOI or length < 2 or position > len(data):
            raise _truncated(path)
        if marker in _FRAMES:
            _add_frame(path, found, marker, content)
        elif marker == _DRI:
            interval = int.from_bytes(content)
        elif marker == _SOS:
            scans += 1
            after = (_MARKER_BUT_RESTART if interval else _MARKER).search(data, position)
            end = after.start() if after else len(data)
            if scans == 1:
                _check_first_scan(path, found, content, end - position)
            if after is None:
                raise _truncated(path)
            if found.in_one_scan:
                found.end = end
                return found
            if after[1][0] not in _AFTER_SCAN or scans > _MOST_SCANS:
                raise _damaged(path, f"its scan {scans} is followed by the bytes ff {after[1].hex()}")
            position = end


def _add_frame(path: Path, found: JpegScans, marker: int, content: bytes) -> None:
    if found.frame or len(content) < 6 or len(content) < 6 + 3 * content[5]:
        raise _damaged(path, "it describes its size twice, or in part")
    found.frame = marker
    found.height = int.from_bytes(content[1:3])
    found.width = int.from_bytes(content[3:5])
    found.factors = [(content[i] >> 4, content[i] & 15) for i in range(7, 7 + 3 * content[5], 3)]
    if not found.width or not found.height or not found.factors or not all(h and v for h, v in found.factors):
        raise _damaged(path, f"its header names {found.height} by {found.width} pixels")


def _check_first_scan(path: Path, found: JpegScans, content: bytes, size: int) -> None:
    """Raise an error for a first scan with fewer bits than blocks.

    Each block of 8 by 8 values has at least one bit.
    """
    if not found.frame or not content:
        raise _damaged(path, "its pixels come before its header")
    components = content[0]
    found.in_one_scan = found.frame in _SEQUENTIAL and components == len(found.factors)
    if found.frame in _ARITHMETIC:
        return
    across = -(-found.width // (8 * max(h for h, _ in found.factors)))
    down = -(-found.height // (8 * max(v for _, v in found.factors)))
    # A block has a code for its mean and, in a sequential scan, another for its end.
    least = across * down * components * (2 if found.frame in _SEQUENTIAL else 1)
    if 8 * size < least:
        raise BadImageError(
            path,
            f"the file is truncated or damaged: {found.height} by {found.width} pixels have {least // 8 + 1} bytes at "
            f"least, and it has {size} of them; copy it again",
        )


def _damaged(path: Path, words: str) -> BadImageError:
    return BadImageError(path, f"the file is damaged: {words}; copy or export it again")


def _truncated(path: Path) -> BadImageError:
    return BadImageError(path, "the file is truncated: its end is missing; copy or export it again")

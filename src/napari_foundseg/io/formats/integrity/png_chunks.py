"""Checks of the chunks of a PNG: checksums, and whether all its pixels are there, before anything is decoded.

Pillow does not compare the checksums of pixels, and allocates an image of the size that the header claims.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats.content import DEFLATE_RATIO, check_size

__all__ = ["check_png"]

_SIGNATURE = 8
#: Bytes to read, and to unpack, at once.
_BLOCK = 1 << 20
#: Number of values of a pixel, and bits that a value may have, by type of colour.
_COLOURS = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16)), 6: (4, (8, 16))}
#: First column, first row, column step and row step of each pass of an interlaced picture.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
#: Bytes per pixel during decoding: Pillow keeps colours as four bytes, and 16 bits are decoded twice.
_DECODED = {8: 4, 16: 12}


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    bits: int
    samples: int
    interlaced: bool

    @property
    def unpacked(self) -> int:
        """Bytes of the pixels after decompression. Every row has one more byte, its filter."""
        steps = _PASSES if self.interlaced else ((0, 0, 1, 1),)
        sizes = (((self.width - x + dx - 1) // dx, (self.height - y + dy - 1) // dy) for x, y, dx, dy in steps)
        return sum(
            rows * (1 + (columns * self.bits * self.samples + 7) // 8)
            for columns, rows in sizes
            if columns > 0 and rows > 0
        )


def check_png(path: Path, file: BinaryIO) -> None:
    """Read a PNG from its beginning to its end without keeping its pixels.

    Raises
    ------
    BadImageError
        If it is truncated, a checksum is wrong, it has more or fewer pixels than its header claims, or they do not fit
        into memory.
    """
    header = _read_header(path, file)
    stored = sum(length for kind, length in _chunks(path, file) if kind == b"IDAT")
    check_size(
        path, (header.height, header.width), _DECODED.get(header.bits, 4), stored, DEFLATE_RATIO, header.unpacked
    )
    inflater = zlib.decompressobj()
    left = header.unpacked
    for kind, length in _chunks(path, file):
        checksum = zlib.crc32(kind)
        while length:
            block = file.read(min(length, _BLOCK))
            length -= len(block)
            checksum = zlib.crc32(block, checksum)
            if kind == b"IDAT":
                left -= _inflated(path, inflater, block, left)
        if checksum != struct.unpack(">I", file.read(4))[0]:
            raise _damaged(path, f"the checksum of its part {kind.decode('ascii', 'replace')} is wrong")
    if left or not inflater.eof:
        raise _damaged(path, f"{left or 'some'} of its {header.unpacked} bytes of pixels are missing")


def _read_header(path: Path, file: BinaryIO) -> _Header:
    file.seek(_SIGNATURE)
    start = file.read(25)
    if len(start) < 25:
        raise _truncated(path)
    length, kind, width, height, bits, colour, compression, filtering, interlace = struct.unpack(
        ">I4sIIBBBBB", start[:21]
    )
    if kind != b"IHDR" or length != 13 or struct.unpack(">I", start[21:])[0] != zlib.crc32(start[4:21]):
        raise _damaged(path, "the checksum of its header is wrong")
    samples, allowed = _COLOURS.get(colour, (0, ()))
    if not width or not height or bits not in allowed or compression or filtering or interlace > 1:
        raise _damaged(path, f"its header names {width} by {height} pixels of {bits} bits in the colours {colour}")
    return _Header(width, height, bits, samples, bool(interlace))


def _chunks(path: Path, file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield type and length of each chunk. The file position is then at the content of the chunk."""
    size = file.seek(0, 2)
    position = _SIGNATURE
    while True:
        file.seek(position)
        start = file.read(8)
        if len(start) < 8:
            raise _truncated(path)
        length, kind = struct.unpack(">I4s", start)
        position += 12 + length
        if position > size:
            raise _truncated(path)
        yield kind, length
        if kind == b"IEND":
            return


def _inflated(path: Path, inflater: zlib._Decompress, block: bytes, left: int) -> int:
    """Return the number of bytes to which a block of compressed pixels unpacks; raise an error above `left`."""
    total = 0
    try:
        while block and not inflater.eof:
            total += len(inflater.decompress(block, _BLOCK))
            block = inflater.unconsumed_tail
            if total > left:
                raise _damaged(path, "it holds more pixels than its header says")
    except zlib.error as error:
        raise _damaged(path, f"its pixels cannot be unpacked ({error})") from error
    return total


def _damaged(path: Path, words: str) -> BadImageError:
    return BadImageError(path, f"the file is damaged: {words}; copy or export it again")


def _truncated(path: Path) -> BadImageError:
    return BadImageError(path, "the file is truncated: its end is missing; copy or export it again")

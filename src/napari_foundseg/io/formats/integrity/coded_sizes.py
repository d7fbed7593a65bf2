"""Rows and columns that the header of a coded picture claims: JPEG 2000, JPEG XL, JPEG XR, WebP, LERC, PNG."""

from __future__ import annotations

import struct
from fractions import Fraction

__all__ = ["coded_size"]

#: Bits of a number in the header of JPEG XL, by its first two bits; then the possible ratios of columns to rows.
_XL_BITS = (9, 13, 18, 30)
_XL_RATIOS = (
    None,
    Fraction(1),
    Fraction(6, 5),
    Fraction(4, 3),
    Fraction(3, 2),
    Fraction(16, 9),
    Fraction(5, 4),
    Fraction(2),
)
#: Tags of JPEG XR.
_XR_WIDTH = 0xBC80
_XR_HEIGHT = 0xBC81
_SHORT = 3


def coded_size(data: bytes) -> tuple[int, int] | None:
    """Return rows and columns from the header of a coded picture; None if it is of another kind or cut."""
    try:
        if data[:6] == b"Lerc2 ":
            (version,) = struct.unpack_from("<i", data, 6)
            return _pair(struct.unpack_from("<ii", data, 14 if version >= 3 else 10))
        if data[:4] == b"\x89PNG":
            return _pair(struct.unpack_from(">II", data, 16)[::-1])
        if data[:4] == b"RIFF":
            return _size_of_webp(data)
        if data[:3] == b"II\xbc":
            return _size_of_jpeg_xr(data)
        if data[:2] == b"\xff\x0a":
            return _size_of_jpeg_xl(data[2:])
        if data[4:8] == b"JXL ":
            return _size_of_jpeg_xl(data[data.index(b"\xff\x0a") + 2 :])
        start = data.index(b"\xff\x4f\xff\x51")
        width, height, left, top = struct.unpack_from(">4I", data, start + 8)
    except (struct.error, ValueError, IndexError):
        return None
    return height - top, width - left


def _pair(numbers: tuple[int, ...]) -> tuple[int, int]:
    return int(numbers[0]), int(numbers[1])


def _size_of_webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    return None


def _size_of_jpeg_xr(data: bytes) -> tuple[int, int] | None:
    (position,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, position)
    found = {}
    for i in range(entries):
        tag, kind, _, value = struct.unpack_from("<HHII", data, position + 2 + 12 * i)
        found[tag] = value & 0xFFFF if kind == _SHORT else value
    return (found[_XR_HEIGHT], found[_XR_WIDTH]) if {_XR_HEIGHT, _XR_WIDTH} <= set(found) else None


def _size_of_jpeg_xl(header: bytes) -> tuple[int, int]:
    # The bits of the header, starting with the lowest of the first byte.
    bits = int.from_bytes(header[:16], "little")

    def take(count: int) -> int:
        nonlocal bits
        taken = bits & ((1 << count) - 1)
        bits >>= count
        return taken

    small = take(1)

    def number() -> int:
        return 8 * (take(5) + 1) if small else take(_XL_BITS[take(2)]) + 1

    height = number()
    ratio = _XL_RATIOS[take(3)]
    return height, number() if ratio is None else int(height * ratio)

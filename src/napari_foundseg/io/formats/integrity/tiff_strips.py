"""Checks of the strips and tiles of a TIFF: whether all are there, and whether each unpacks to its own size.

tifffile reads missing ones as zeros, and lets codecs of pictures allocate the size that their own header claims.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats.content import DEFLATE_RATIO, check_size
from napari_foundseg.io.formats.integrity.coded_sizes import coded_size
from napari_foundseg.io.formats.integrity.jpeg_scans import read_scans
from napari_foundseg.io.formats.integrity.png_chunks import check_png

__all__ = ["check_segments", "guard_pages"]

_NONE = 1
_JPEG = {6, 7, 33007, 34892}
#: JPEG 2000, WebP, LERC, JPEG XR and JPEG XL.
_PICTURES = {33003, 33004, 33005, 34712, 34887, 34927, 50001, 22610, 34934, 50002, 52546}
_PNG = {34933}
_LZMA = {34925}
_DEFLATE = {8, 32946}
_BYTE = 8
#: Most bytes that a byte can encode, by the value of Compression. Others have no such limit.
_RATIOS = {_NONE: 1, 5: 2000, 8: DEFLATE_RATIO, 32946: DEFLATE_RATIO, 32773: 64}
#: Additional bytes that a strip may have, and additional columns and rows of a coded strip or tile.
_SPARE = 16


def check_segments(path: Path, series: Any) -> tuple[str, ...]:
    """Raise an error if an image has too few strips or tiles, or strips after the end of the file.

    Missing ones give only a note, which is returned. They have neither position nor size, since programs write empty
    tiles that way. tifffile gives them the position of the next one.
    """
    missing = 0
    total = 0
    # STK and LSM list the strips of one plane only.
    counted = series.kind not in ("stk", "lsm", "eer") and series.keyframe.jpegheader is None
    for number, page in enumerate(series.pages):
        if page is None:
            continue
        size = page.parent.filehandle.size
        offsets, counts = page.dataoffsets, page.databytecounts
        wanted = prod(page.chunked)
        whole = page.is_contiguous and len(offsets) == 1
        if counted and not whole and min(len(offsets), len(counts)) < wanted:
            raise BadImageError(
                path,
                f"page {number + 1} has {min(len(offsets), len(counts))} of the {wanted} strips or tiles that its "
                f"{' by '.join(map(str, page.shape))} pixels need; the file is damaged: copy or export it again",
            )
        stored = 0
        following = {0, *(offset for offset, count in zip(offsets, counts, strict=False) if count), page.offset}
        for segment, (offset, count) in enumerate(zip(offsets, counts, strict=False)):
            total += 1
            if not count and (offset in following or offset + _SPARE > size):
                missing += 1
            elif (not offset or not count) and not whole:
                raise BadImageError(
                    path,
                    f"strip or tile {segment + 1} of page {number + 1} has {count} bytes at {offset}; the file is "
                    "damaged: copy or export it again",
                )
            if offset + count > size:
                words = f"its pixels go on to byte {offset + count}, and it has {size}"
                raise BadImageError(path, f"the file is truncated: {words}; copy it again")
            stored += count
        if stored and not missing and not whole:
            ratio = _RATIOS.get(int(page.keyframe.compression), float("inf")) * _widening(page.keyframe)
            if page.nbytes > (stored + _SPARE * wanted) * ratio:
                check_size(path, page.shape, page.dtype.itemsize, stored, ratio)
    return (f"{missing} of its {total} strips or tiles are not in the file and are read as 0.",) if missing else ()


def _widening(page: Any) -> float:
    """Return the factor by which packed bits become longer in an array."""
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8
    if page.dtype is None:
        return 1.0
    return max(1.0, 8.0 * int(page.dtype.itemsize) / max(bits, 1))


def guard_pages(path: Path, series: Any) -> None:
    """Replace the decoder of a series' pages, at all levels, by one that first checks every strip and tile."""
    guarded: set[int] = set()
    for level in series.levels:
        for page in level.pages:
            keyframe = None if page is None else page.keyframe
            if keyframe is not None and id(keyframe) not in guarded:
                guarded.add(id(keyframe))
                keyframe.__dict__["decode"] = _guarded(path, keyframe, keyframe.decode)


def _guarded(path: Path, page: Any, decode: Callable[..., Any]) -> Callable[..., Any]:
    compression = int(page.compression)
    # Without compression the bytes are the pixels, and tifffile raises an error for a wrong number.
    ratio = float("inf") if compression == _NONE else _RATIOS.get(compression, float("inf")) * _widening(page)
    itemsize = page.dtype.itemsize if page.dtype is not None else 1
    # Bytes of a row, if its values have fewer bits than a byte.
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    row = (bits * samples * (page.tilewidth if page.is_tiled else page.imagewidth) + 7) // 8 if bits < _BYTE else 0
    rows = page.tilelength * page.tiledepth if page.is_tiled else page.rowsperstrip

    def checked(data: bytes | None, index: int, /, **options: Any) -> Any:
        if data is not None:
            # Use the real size of the last strip, not the full size.
            _, _, shape = decode(None, index, **{**options, "_fullsize": False})
            check_size(path, shape, itemsize, len(data) + _SPARE, ratio)
            if options.get("jpegheader") is None:
                # A coded last strip may have all rows of a full strip.
                _check_coded(path, compression, data, decode(None, index, **{**options, "_fullsize": True})[2])
            if row and compression in _DEFLATE:
                _check_packed_bits(path, data, rows, row)
        return decode(data, index, **options)

    return checked


def _check_coded(path: Path, compression: int, data: bytes, shape: tuple[int, ...]) -> None:
    """Raise `BadImageError` if the header of a coded strip claims a larger size than that of the strip."""
    found: tuple[int, ...] | None = None
    if compression in _JPEG and data[:2] == b"\xff\xd8":
        scans = read_scans(path, data)
        found = scans.height, scans.width
    elif compression in _PICTURES or compression in _PNG:
        found = coded_size(data)
        # Rows and columns of the picture may be swapped.
        found = found if found is None or found[0] <= shape[1] + _SPARE else found[::-1]
    elif compression in _LZMA:
        _check_lzma(path, data, shape)
    if found is not None and (found[0] > shape[1] + _SPARE or found[1] > shape[2] + _SPARE):
        raise BadImageError(
            path,
            f"a strip or tile of {shape[1]} by {shape[2]} pixels claims {found[0]} by {found[1]}; the file is damaged: "
            "copy or export it again",
        )
    if compression in _PNG:
        check_png(path, BytesIO(data))


def _check_packed_bits(path: Path, data: bytes, rows: int, row: int) -> None:
    """Raise an error for a strip with more bytes than its packed bits, of which tifffile would use the first."""
    left = zlib.decompressobj()
    if len(left.decompress(data, rows * row + 1)) > rows * row:
        raise BadImageError(
            path, "a strip or tile holds more than its size; the file is damaged: copy or export it again"
        )


def _check_lzma(path: Path, data: bytes, shape: tuple[int, ...]) -> None:
    """Raise an error for a damaged or too long LZMA stream. The decoder does not reach the checksum at its end."""
    decompressor = lzma.LZMADecompressor()
    left = prod(shape) * _SPARE
    block = data
    while not decompressor.eof and left > 0:
        found = len(decompressor.decompress(block, 1 << 20))
        block = b""
        left -= found
        if not found and decompressor.needs_input:
            break
    if not decompressor.eof:
        raise BadImageError(path, "a strip or tile is cut or larger than it claims; copy or export the file again")

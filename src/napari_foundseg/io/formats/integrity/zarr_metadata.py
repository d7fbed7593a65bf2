"""Checks of a zarr array's metadata: its codecs, its number of chunks, and missing chunks.

A codec of a kind not listed here may execute the content of a chunk, such as a pickle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats.content import DEFLATE_RATIO
from napari_foundseg.io.formats.free_memory import format_bytes

__all__ = ["COMPRESSIONS", "PREFIX", "check_array", "check_chunk_count", "missing_chunks", "read_metadata"]

#: Compressions, and the most bytes that a byte can encode; infinite where there is no such limit.
COMPRESSIONS = {
    "zstd": float("inf"),
    "blosc": float("inf"),
    "gzip": DEFLATE_RATIO,
    "zlib": DEFLATE_RATIO,
    "lz4": 255,
    "bz2": float("inf"),
    "lzma": float("inf"),
}
#: Other codecs of zarr format 3, and filters of format 2. All only compute numbers.
_PLAIN = {"bytes", "endian", "transpose", "sharding_indexed", "crc32c"}
_FILTERS = {
    *("delta", "fixedscaleoffset", "quantize", "bitround", "shuffle", "astype"),
    *("crc32", "crc32c", "adler32", "fletcher32"),
}
#: Prefix of the names of numcodecs' compressions in format 3.
PREFIX = "numcodecs."
#: Most chunks of one slice, since each request takes time and memory.
_MOST_CHUNKS = 1 << 18
#: Most chunks to search one by one when an array is opened.
_MOST_NAMED = 1 << 14
#: Additional bytes of a chunk, such as those of an index.
_SPARE = 1 << 20


def read_metadata(array: Path) -> dict[str, Any]:
    """Return the metadata of a zarr array of format 3 or 2; empty if there are none."""
    for name in ("zarr.json", ".zarray"):
        if (array / name).is_file():
            found = json.loads((array / name).read_bytes())
            return found if isinstance(found, dict) else {}
    return {}


def check_array(path: Path, array: Path) -> None:
    """Raise an error for an array with codecs that are not plain, before zarr opens it.

    Raises
    ------
    BadImageError
        If a codec is not listed here, or the values are not numbers.
    """
    known = read_metadata(array)
    if "codecs" in known:
        used = list(_names(known["codecs"]))
        kind = str(known.get("data_type"))
        allowed = _PLAIN | set(COMPRESSIONS) | {PREFIX + name for name in COMPRESSIONS}
    else:
        used = [str(one.get("id")) for one in (known.get("compressor"), *(known.get("filters") or ())) if one]
        kind = str(known.get("dtype", "uint8"))
        allowed = _FILTERS | set(COMPRESSIONS)
    for name in used:
        if name not in allowed:
            raise BadImageError(
                path,
                f"its values are packed with the codec {name!r}, which may execute what the file holds and is not "
                f"applied; export it with another, such as zstd (read are {', '.join(COMPRESSIONS)})",
            )
    try:
        numbers = np.dtype(kind).kind in "biuf"
    except TypeError:
        numbers = False
    if not numbers:
        raise BadImageError(path, f"its values are of the type {kind!r} and no numbers; export it as an image")


def _names(codecs: Any) -> Iterator[str]:
    for codec in codecs:
        yield str(codec["name"] if isinstance(codec, Mapping) else codec)
        inner = codec.get("configuration") if isinstance(codec, Mapping) else None
        for part in ("codecs", "index_codecs"):
            yield from _names((inner or {}).get(part) or ())


def check_chunk_count(path: Path, array: Any, axes: list[int]) -> None:
    """Raise an error for an array with so many chunks per slice that requests for them would not end."""
    count = prod(-(-int(array.shape[i]) // int(array.chunks[i])) for i in axes)
    if count > _MOST_CHUNKS:
        raise BadImageError(
            path,
            f"a slice of {' by '.join(str(array.shape[i]) for i in axes)} pixels is cut into {count} chunks; save it "
            "with larger chunks",
        )


def missing_chunks(path: Path, array: Any) -> tuple[list[str], int]:
    """Return the names of missing chunks, and the total number of chunks.

    For a sharded array these are its shards. For an array with very many chunks, nothing is searched.

    Raises
    ------
    BadImageError
        If a file is larger than a chunk can be.
    """
    counts = [-(-int(n) // int(c)) for n, c in zip(array.shape, array.metadata.chunk_grid.chunk_shape, strict=True)]
    total = prod(counts)
    if total > _MOST_NAMED:
        return [], total
    # zarr reads a chunk file as a whole, whatever its size.
    largest = 2 * prod(array.metadata.chunk_grid.chunk_shape) * array.dtype.itemsize + _SPARE
    missing = []
    for index in product(*map(range, counts)):
        key = array.metadata.encode_chunk_key(index)
        try:
            size = (path / key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            missing.append(key)
            continue
        if size > largest:
            raise BadImageError(path, f"its chunk {key} is {format_bytes(size)}, larger than a chunk can be")
    return missing, total

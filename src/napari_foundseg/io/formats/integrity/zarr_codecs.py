"""Zarr arrays whose chunks unpack to no more than their size.

zarr's own codecs trust the size that a compressed chunk claims, or unpack without limit.
"""

from __future__ import annotations

import asyncio
import bz2
import lzma
import struct
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs.abc import Codec as NumCodec
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec, TransposeCodec

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats.content import check_memory, check_size
from napari_foundseg.io.formats.integrity.zarr_metadata import COMPRESSIONS, PREFIX, check_array

__all__ = ["open_checked"]

#: Additional bytes of a chunk for a checksum between two codecs, and most bytes of a value after a filter.
_SPARE = 64
_WIDEST = 8


def open_checked(path: Path, group: Any, name: str) -> Any:
    """Open an array of a group so that its chunks unpack to no more than their size.

    Raises
    ------
    BadImageError
        If its codecs are not plain, or a chunk does not fit into memory.
    """
    check_array(path, path / name)
    array = group[name]
    metadata = array.metadata
    shape = tuple(int(n) for n in array.chunks)
    check_memory(path, shape, array.dtype.itemsize)
    if metadata.zarr_format == 3:
        changed = replace(metadata, codecs=tuple(_bounded(path, codec) for codec in metadata.codecs))
    else:
        # A filter may store a dtype other than that of the array.
        limit = prod(shape) * max(array.dtype.itemsize, _WIDEST if metadata.filters else 0) + _SPARE
        compressor = metadata.compressor
        if compressor is not None:
            compressor = _BoundedCompressor(path, compressor.codec_id, shape, limit)
        changed = replace(metadata, compressor=compressor)
    return zarr.Array(zarr.AsyncArray(changed, array.store_path))


def _bounded(path: Path, codec: Any) -> Any:
    """Return a codec of format 3 that unpacks no more bytes than a chunk has."""
    if isinstance(codec, ShardingCodec):
        return ShardingCodec(
            chunk_shape=codec.chunk_shape,
            codecs=tuple(_bounded(path, inner) for inner in codec.codecs),
            index_codecs=codec.index_codecs,
            index_location=codec.index_location,
        )
    if isinstance(codec, BytesCodec | TransposeCodec | Crc32cCodec):
        return codec
    name = str(codec.to_dict()["name"]).removeprefix(PREFIX)
    if name not in COMPRESSIONS:
        raise BadImageError(path, f"its values are packed with the codec {name!r}, which is not supported")
    return _BoundedCodec(path, name)


@dataclass(frozen=True)
class _BoundedCodec(BytesBytesCodec):
    """A compression of zarr format 3 with limited output."""

    path: Path
    name: str
    is_fixed_size = False

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        size = np.dtype(_native(chunk_spec.dtype)).itemsize * prod(chunk_spec.shape)
        content = await asyncio.to_thread(
            _unpack, self.path, self.name, chunk_bytes.to_bytes(), chunk_spec.shape, size + _SPARE
        )
        return chunk_spec.prototype.buffer.from_bytes(content)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "configuration": {}}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        raise NotImplementedError


class _BoundedCompressor(NumCodec):  # type: ignore[misc]
    """A compression of zarr format 2 with limited output."""

    codec_id = "bounded"

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], limit: int) -> None:
        self._name = name
        self._path = path
        self._shape = shape
        self._limit = limit

    def decode(self, buf: Any, out: Any = None) -> bytes:  # noqa: ARG002 - as it is called
        return _unpack(self._path, self._name, bytes(buf), self._shape, self._limit)

    def encode(self, buf: Any) -> bytes:
        raise NotImplementedError


def _native(dtype: Any) -> Any:
    return dtype.to_native_dtype() if hasattr(dtype, "to_native_dtype") else dtype


def _unpack(path: Path, name: str, packed: bytes, shape: tuple[int, ...], limit: int) -> bytes:
    """Decompress a chunk to at most `limit` bytes; raise an error if it has more."""
    import imagecodecs

    check_size(path, shape, 1, len(packed) + _SPARE, COMPRESSIONS[name], limit - _SPARE)
    if name == "zstd":
        return bytes(imagecodecs.zstd_decode(packed, out=limit))
    if name == "gzip":
        return bytes(imagecodecs.gzip_decode(packed, out=limit))
    if name == "zlib":
        return bytes(imagecodecs.zlib_decode(packed, out=limit))
    if name == "blosc":
        _, _, size, _, stored = struct.unpack_from("<HHIII", packed)
        if size > limit or stored != len(packed):
            raise ValueError(f"a chunk claims {size} bytes in {stored}, and has {limit - _SPARE} in {len(packed)}")
        return bytes(imagecodecs.blosc_decode(packed, out=limit))
    if name == "lz4":
        (size,) = struct.unpack_from("<I", packed)
        if size > limit:
            raise ValueError(f"a chunk claims {size} bytes and has {limit - _SPARE}")
        return bytes(imagecodecs.lz4_decode(packed[4:], out=size))
    decompressor: Any = bz2.BZ2Decompressor() if name == "bz2" else lzma.LZMADecompressor()
    content = decompressor.decompress(packed, limit + 1)
    if len(content) > limit or not decompressor.eof:
        raise ValueError(f"a chunk unpacks to more than its {limit - _SPARE} bytes, or is cut")
    return bytes(content)

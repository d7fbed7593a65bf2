"""Encoded windows, in memory and on disk: the only cache of its kind, for clicks, automatic masks and batches.

The key is the input of the encoder: the model's weights and preprocessing, and the window's 8-bit pixels. So no entry
is ever stale, and a changed slice re-encodes only itself. Equal pixels are encoded once, whatever layer, file or
process they come from.

Features on disk are float16. They are rounded as soon as they are made, so that results do not depend on whether they
were read or made. Models whose encoder takes milliseconds keep float32, which is exactly the output of the reference. A
background thread writes the files.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.io import folders
from napari_foundseg.io.disk_cache import DiskCache
from napari_foundseg.io.preferences import preferences
from napari_foundseg.models.protocols.objects import Embedding, Encoder, Promptable, StorableEmbeddings
from napari_foundseg.tasks.settings import Progress
from napari_foundseg.tasks.windows import tiling

__all__ = ["disk_cache", "embedding", "encode_ahead", "flush", "windows_of"]

#: Bytes of encoded windows that are kept in memory; the least recently used are removed first.
LIMIT = 512 << 20
#: Bytes that may wait to be written; further windows are kept in memory only.
_WAITING = 256 << 20

_kept: OrderedDict[tuple[str, str, bytes], Embedding] = OrderedDict()
_lock = threading.RLock()
_writer = ThreadPoolExecutor(1, thread_name_prefix="foundseg-cache")
_waiting = [0]


def embedding(model: Encoder, rgb: NDArray[np.uint8]) -> Embedding:
    """Return a picture's embedding; encode the picture only if no cache has it.

    Parameters
    ----------
    model : Encoder
        The model.
    rgb : (M, N, 3) ndarray of uint8
        The picture.

    Returns
    -------
    Embedding
        Result of the model's `encode`.
    """
    digest = hashlib.blake2b(np.ascontiguousarray(rgb).data, digest_size=16)
    digest.update(repr(rgb.shape).encode())
    key = (model.key, model.device, digest.digest())
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    encoded = _from_disk(model, key[2]) or _encoded(model, rgb, key[2])
    with _lock:
        _kept[key] = encoded
        while len(_kept) > 1 and sum(e.nbytes for e in _kept.values()) > LIMIT:
            _kept.popitem(last=False)
    return encoded


def encode_ahead(
    image: Image,
    model: Promptable,
    indices: Sequence[tuple[int, ...]] | None = None,
    progress: Progress = lambda _share, _words: None,
    poll: Callable[[], None] = lambda: None,
) -> int:
    """Encode every window of slices in which a click may be decoded first, so that no click waits for the encoder.

    Parameters
    ----------
    image : Image
        The image.
    model : Promptable
        The model.
    indices : sequence of tuple of int, optional
        The slices; all by default.
    progress : callable
        Called with the share done and a text.
    poll : callable
        Called before each window; may raise to stop. Windows that are encoded by then are kept.

    Returns
    -------
    int
        Number of windows.
    """
    planes = list(image.indices()) if indices is None else indices
    jobs = [(index, window) for index in planes for window in windows_of(image.plane_shape, model.window)]
    for done, (index, window) in enumerate(jobs):
        poll()
        progress(done / len(jobs), f"window {done + 1} of {len(jobs)}")
        embedding(model, image.rgb(index, window))
    flush()
    return len(jobs)


def windows_of(shape: tuple[int, int], window: int) -> list[tuple[int, int, int, int]]:
    """Return the windows in which clicks on a slice are first decoded, and the window that holds the whole slice.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of a slice.
    window : int
        Side of the model's window.

    Returns
    -------
    list of tuple of int
        (y0, x0, y1, x1), both ends included, sorted.
    """
    last = tiling.coarsest(shape, window)
    side = tiling.side(window, min(0, last))
    starts = [sorted({*range(0, max(1, n - side), max(1, side // 2)), max(0, n - side)}) for n in shape]
    ends = [[min(n, s + side) - 1 for s in some] for n, some in zip(shape, starts, strict=True)]
    found = {
        (y0, x0, y1, x1)
        for y0, y1 in zip(starts[0], ends[0], strict=True)
        for x0, x1 in zip(starts[1], ends[1], strict=True)
    }
    return sorted(found | {(0, 0, shape[0] - 1, shape[1] - 1)})


def flush() -> None:
    """Wait until all encoded windows that are waiting have been written to disk."""
    _writer.submit(lambda: None).result()


def disk_cache() -> DiskCache | None:
    """Return the cache of encoded windows on disk; None if the user disabled it with a size of 0."""
    limit = preferences().cache_gb
    return _disk(folders.cache() / "embeddings", int(limit * 1e9)) if limit > 0 else None


@cache
def _disk(folder: Path, limit: int) -> DiskCache:
    return DiskCache(folder, limit)


def _entry(key: str, model: StorableEmbeddings, digest: bytes) -> str:
    """Return the name of an embedding's file in the cache."""
    what = f"{key}|{model.preprocessing}|{model.stored_as}".encode()
    return hashlib.blake2b(what + digest, digest_size=20).hexdigest()


def _from_disk(model: Encoder, digest: bytes) -> Embedding | None:
    disk = disk_cache()
    if disk is None or not isinstance(model, StorableEmbeddings):
        return None
    data = disk.get(_entry(model.key, model, digest))
    unpacked: Embedding | None = None if data is None else model.unpacked(data)
    return unpacked


def _encoded(model: Encoder, rgb: NDArray[np.uint8], digest: bytes) -> Embedding:
    encoded: Embedding = model.encode(rgb)
    if not isinstance(model, StorableEmbeddings):
        return encoded
    disk = disk_cache()
    data = model.packed(encoded)
    if disk is not None and _waiting[0] + len(data) <= _WAITING:
        with _lock:
            _waiting[0] += len(data)
        _writer.submit(_write, disk, _entry(model.key, model, digest), data)
    # Return the rounded embedding that another process will read from disk.
    same: Embedding = encoded if model.stored_as == "float32" else model.unpacked(data)
    return same


def _write(disk: DiskCache, name: str, data: bytes) -> None:
    try:
        disk.put(name, data)
    finally:
        with _lock:
            _waiting[0] -= len(data)

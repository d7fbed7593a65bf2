"""Encoded windows, kept in memory within a bound.

The key is what the encoder saw: the model's weights and the window's 8-bit pixels. So nothing is ever stale, a changed
slice re-encodes only itself, and equal pixels are encoded once, whichever layer or file they come from.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.models.protocols import Embedding, Promptable

__all__ = ["embedding"]

#: Bytes of encoded windows that are kept; the least recently used go first.
LIMIT = 512 << 20

_kept: OrderedDict[tuple[str, str, bytes], Embedding] = OrderedDict()
_lock = RLock()


def embedding(model: Promptable, rgb: NDArray[np.uint8]) -> Embedding:
    """Return a picture's embedding, encoding it only if it is not kept.

    Parameters
    ----------
    model : Promptable
        The model.
    rgb : (M, N, 3) ndarray of uint8
        The picture.

    Returns
    -------
    Embedding
        For the model's `decode`.
    """
    digest = hashlib.blake2b(np.ascontiguousarray(rgb).data, digest_size=16)
    digest.update(repr(rgb.shape).encode())
    key = (model.key, model.device, digest.digest())
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    encoded = model.encode(rgb)
    with _lock:
        _kept[key] = encoded
        while len(_kept) > 1 and sum(e.nbytes for e in _kept.values()) > LIMIT:
            _kept.popitem(last=False)
    return encoded

"""Weights of a small Cellpose-SAM in the published layout, equal wherever they are made, and pictures for it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHAPES", "pictures", "weights"]

_WIDTH, _DEPTH, _OUT = 32, 3, 16


def _shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        "diam_labels": (1,),
        "diam_mean": (1,),
        "W2": (192, 3, 8, 8),
        "encoder.pos_embed": (1, 32, 32, _WIDTH),
        "encoder.patch_embed.proj.weight": (_WIDTH, 3, 8, 8),
        "encoder.patch_embed.proj.bias": (_WIDTH,),
    }
    for i in range(_DEPTH):
        # Tables of SAM's windows of 14 patches, and of its picture of 64 in the second block.
        table = (127 if i == 1 else 27, _WIDTH // 2)
        parts: dict[str, tuple[int, ...]] = {
            "norm1.weight": (_WIDTH,), "norm1.bias": (_WIDTH,), "norm2.weight": (_WIDTH,), "norm2.bias": (_WIDTH,),
            "attn.rel_pos_h": table, "attn.rel_pos_w": table,
            "attn.qkv.weight": (3 * _WIDTH, _WIDTH), "attn.qkv.bias": (3 * _WIDTH,),
            "attn.proj.weight": (_WIDTH, _WIDTH), "attn.proj.bias": (_WIDTH,),
            "mlp.lin1.weight": (4 * _WIDTH, _WIDTH), "mlp.lin1.bias": (4 * _WIDTH,),
            "mlp.lin2.weight": (_WIDTH, 4 * _WIDTH), "mlp.lin2.bias": (_WIDTH,),
        }  # fmt: skip
        found |= {f"encoder.blocks.{i}.{name}": shape for name, shape in parts.items()}
    return found | {
        "encoder.neck.0.weight": (_OUT, _WIDTH, 1, 1),
        "encoder.neck.1.weight": (_OUT,),
        "encoder.neck.1.bias": (_OUT,),
        "encoder.neck.2.weight": (_OUT, _OUT, 3, 3),
        "encoder.neck.3.weight": (_OUT,),
        "encoder.neck.3.bias": (_OUT,),
        "out.weight": (192, _OUT, 1, 1),
        "out.bias": (192,),
    }


SHAPES: Mapping[str, tuple[int, ...]] = _shapes()


def weights() -> dict[str, NDArray[np.float32]]:
    """Return numbers for every tensor."""
    found = {}
    for name, shape in SHAPES.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        found[name] = (rng.standard_normal(shape) * 0.15).astype(np.float32)
    found["W2"] = np.eye(192, dtype=np.float32).reshape(192, 3, 8, 8)
    found["diam_labels"] = found["diam_mean"] = np.array([30], np.float32)
    return found


def pictures() -> dict[str, dict[str, Any]]:
    """Return pictures (M, N, C) and the diameter with which each is looked at."""
    rng = np.random.default_rng(3)
    smooth = np.cumsum(np.cumsum(rng.integers(-9, 10, (290, 300, 3)), axis=0), axis=1)
    smooth = (smooth - smooth.min()).astype(np.uint16)
    one_flat = smooth[:80, :90].copy()
    one_flat[..., 1] = 7
    return {
        "grey in tiles": {"picture": smooth[..., :1], "diameter": None},
        "two channels, enlarged": {"picture": smooth[:100, :83, :2], "diameter": 17.0},
        "three channels, shrunk": {"picture": smooth[:280], "diameter": 64.0},
        "a channel without contrast": {"picture": one_flat, "diameter": None},
    }

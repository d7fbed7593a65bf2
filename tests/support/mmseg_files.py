"""Files in the layout of mmsegmentation, with numbers that depend on the names of their tensors alone."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.support.frozen_arrays import read_arrays

__all__ = ["FROZEN", "filled", "outputs", "picture", "read", "write", "write_json"]

#: What mmsegmentation's own networks gave: tests/oracles/mmseg_outputs.py wrote it.
FROZEN = Path(__file__).parents[1] / "data" / "mmseg"


def filled(shapes: Mapping[str, tuple[int, ...]]) -> OrderedDict[str, torch.Tensor]:
    """Return tensors of these names and shapes that keep the size of features in check."""
    found = OrderedDict()
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        values = rng.standard_normal(tuple(shape))
        if name.endswith("num_batches_tracked"):
            found[name] = torch.zeros((), dtype=torch.long)
            continue
        if name.endswith("relative_position_index"):
            side = int(np.sqrt(shape[0]))
            place = (np.arange(side)[:, None] * (2 * side - 1) + np.arange(side)).ravel()
            found[name] = torch.as_tensor(place[:, None] + place[::-1][None])
            continue
        if name.endswith("running_var"):
            values = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1 and "pos_embed" not in name:
            values *= np.sqrt(2 / max(1, np.prod(shape[1:])))
            if "conv_seg" in name:
                # Centred, so that no class wins everywhere.
                values = 12 * (values - values.mean(1, keepdims=True))
        elif name.endswith("weight"):
            values = rng.uniform(0.7, 1.3, shape)
        else:
            values *= 0.2
        found[name] = torch.as_tensor(values.astype(np.float32))
    return found


def picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a picture of 64 × 96 pixels with patches of colour."""
    coarse = np.random.default_rng(1).integers(0, 255, (8, 12, 3), np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8)))


def write(path: Path, shapes: Mapping[str, tuple[int, ...]], **meta: Any) -> Path:
    """Write a file as mmsegmentation does."""
    torch.save({"meta": meta, "state_dict": filled(shapes)}, path)
    return path


def outputs() -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return what was frozen: by network its configuration and shapes, and its scores."""
    return read("networks"), read_arrays(FROZEN / "scores.npz")


def read(name: str) -> dict[str, Any]:
    """Return what was written under a name."""
    found: dict[str, Any] = json.loads(gzip.decompress((FROZEN / f"{name}.json.gz").read_bytes()))
    return found


def write_json(path: Path, content: Any) -> None:
    """Write compressed JSON, the same bytes each time."""
    path.write_bytes(gzip.compress(json.dumps(content, separators=(",", ":")).encode(), mtime=0))

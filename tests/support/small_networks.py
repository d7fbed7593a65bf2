"""What the authors' own TransUNet, SegNet and U-Net for the brain gave, with small widths."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.support.frozen_arrays import read_arrays
from tests.support.mmseg_files import filled, picture

__all__ = ["FROZEN", "layouts", "scores", "square", "written"]

#: tests/oracles/small_networks_outputs.py wrote it.
FROZEN = Path(__file__).parents[1] / "data" / "small_networks"


def square() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a picture of 96 × 96 pixels."""
    return np.ascontiguousarray(np.tile(picture(), (2, 1, 1))[:96])


def layouts() -> dict[str, dict[str, tuple[int, ...]]]:
    """Return names and shapes by network."""
    found = json.loads(gzip.decompress((FROZEN / "layouts.json.gz").read_bytes()))
    return {name: {key: tuple(shape) for key, shape in own.items()} for name, own in found.items()}


def scores() -> Mapping[str, Any]:
    """Return every second score by network."""
    found: Mapping[str, Any] = read_arrays(FROZEN / "scores.npz")
    return found


def written(path: Path, name: str) -> Path:
    """Write the weights of a network as its authors do."""
    torch.save(filled(layouts()[name]), path)
    return path

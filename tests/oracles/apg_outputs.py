"""Write the clicks and the kept masks of micro-sam's own automatic prompt generation (APG).

micro_sam does not fit beside this package, so it runs in an environment of its own:

    python -m venv /tmp/micro && . /tmp/micro/bin/activate
    pip install micro-sam==1.8.14
    PYTHONPATH=. python tests/oracles/apg_outputs.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from micro_sam.instance_segmentation import _derive_point_prompts
from micro_sam.util import _batched_mask_nms

from tests.support.random_maps import random_discs, random_maps

FILE = Path(__file__).parents[1] / "data" / "apg.npz"
SEEDS = range(4)
#: Pixels that a mask has more than.
LEAST = 25


def points(seed: int) -> np.ndarray[Any, Any]:
    """Return the clicks (row, column) that maps give."""
    found = _derive_point_prompts(*random_maps(seed))
    return found["points"][:, 0, ::-1]


def kept(seed: int, threshold: float) -> np.ndarray[Any, Any]:
    """Return the numbers of the masks that are kept, the best first."""
    masks, scores = random_discs(seed)
    masks, numbers = masks[(large := masks.sum(axis=(1, 2)) > LEAST)], np.flatnonzero(large)
    places = [np.nonzero(mask) for mask in masks]
    boxes = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1] for y, x in places])
    found = _batched_mask_nms(torch.from_numpy(masks), torch.from_numpy(boxes), torch.from_numpy(scores[large]),
                              threshold, intersection_over_min=False)  # fmt: skip
    return numbers[found.numpy()]


if __name__ == "__main__":
    contents = {f"points {seed}": points(seed) for seed in SEEDS}
    contents |= {f"kept {seed} {t}": kept(seed, t) for seed in SEEDS for t in (0.4, 0.9)}
    np.savez_compressed(FILE, **contents)
    sys.stdout.write(f"{len(contents)} arrays, {FILE.stat().st_size} bytes\n")

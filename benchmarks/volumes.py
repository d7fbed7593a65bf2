"""Automatic objects in 3-D on drawn stacks: AP50 of each link, beside slices linked each with its best match.

Ellipsoids, bent tubes and touching cells with noise and uneven contrast, 64 slices, one to four pixels apart; the
spacing is told. AP50 is TP / (TP + FP + FN) at an IoU of 0.5 in 3-D.

    python -m benchmarks.volumes [--kinds touching] [--spacings 1 2 4] [--seeds 1] [--side 192]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray

import napari_foundseg as fs
from napari_foundseg.tasks.automatic import derive
from napari_foundseg.tasks.automatic_settings import DecoderSettings
from tests.support.drawn_stacks import draw_stack

KINDS = ("ellipsoids", "tubes", "touching")
#: The rule of earlier versions comes first.
SETTINGS = {
    "best match": {"link": "overlap", "link_rule": "best match"},
    "overlap": {"link": "overlap"},
    "3d": {"link": "3d"},
}


def ap50(truth: NDArray[np.integer], found: NDArray[np.integer]) -> tuple[float, float]:
    """Return AP50 and the mean of the best IoU of each object drawn."""
    wide = int(found.max()) + 1
    counts = np.bincount(truth.ravel().astype(np.int64) * wide + found.ravel())
    table = np.zeros((int(truth.max()) + 1) * wide)
    table[: len(counts)] = counts
    table = table.reshape(-1, wide)
    both = table[1:, 1:]
    iou = both / (table.sum(1)[1:, None] + table.sum(0)[None, 1:] - both)
    matched = int((iou > 0.5).sum())
    mean = float(iou.max(1, initial=0).mean()) if iou.size else 0.0
    return matched / (sum(iou.shape) - matched), mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--spacings", nargs="+", type=float, default=(1.0, 2.0, 4.0))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--side", type=int, default=192)
    given = parser.parse_args()
    for kind in given.kinds:
        for spacing in given.spacings:
            for seed in range(given.seeds):
                drawn = draw_stack(kind, spacing=spacing, seed=seed, shape=(64, given.side, given.side))
                image = fs.Image(drawn.stack, "ZYX", spacing={"Z": spacing, "Y": 1.0, "X": 1.0})
                begun = time.perf_counter()
                found = fs.automatic(image)
                seconds = time.perf_counter() - begun
                words = []
                for name, values in SETTINGS.items():
                    own = found if name == "3d" else derive(found, DecoderSettings(**values))
                    ap, mean = ap50(drawn.truth, own.labels)
                    words.append(f"{name} AP50 {ap:.2f} IoU {mean:.2f} ({len(own)})")
                print(
                    f"{kind} {spacing:g} seed {seed}, {drawn.truth.max()} drawn: {'; '.join(words)}; {seconds:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()

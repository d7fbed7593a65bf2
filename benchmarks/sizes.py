"""One click on objects of every size: held-out synthetic scenes, enlarged up to four times, by octave of diameter.

python benchmarks/sizes.py [--scenes 60]
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from accuracy import prompt_iou, prompts

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from scenes import draw

#: Training draws scenes from 0 on; these it never sees.
FIRST = 1_000_000
CLICKS = 8


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--scenes", type=int, default=60)
    figures: dict[int, list[float]] = defaultdict(list)
    for seed in range(options.parse_args().scenes):
        rng = np.random.default_rng([FIRST, seed])
        image, labels = draw("plain", FIRST + seed)
        side = image.shape[0] * int(rng.choice([1, 2, 4]))
        image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
        truth = np.asarray(Image.fromarray(labels).resize((side, side), Image.Resampling.NEAREST)).astype(np.int64)
        ids, clicks, _ = prompts(truth)
        chosen = rng.permutation(len(ids))[:CLICKS]
        found = prompt_iou(image, truth, [ids[i] for i in chosen], [clicks[i] for i in chosen])
        areas = ndimage.sum_labels(truth > 0, truth, [ids[i] for i in chosen])
        for iou, area in zip(found, areas, strict=True):
            figures[int(np.log2(np.sqrt(4 * area / np.pi) / 6))].append(iou)
    for octave in sorted(figures):
        print(f"{6 * 2**octave:4} to {12 * 2**octave:4} pixels: click {np.mean(figures[octave]):.3f} "
              f"({len(figures[octave])} objects)")  # fmt: skip


if __name__ == "__main__":
    main()

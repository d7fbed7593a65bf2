"""One click on objects of every size: drawn scenes that training never sees, enlarged up to 4 times, by octave.

`plain` scenes are those of an earlier, frozen generator; the others are of all other kinds alike.

    python benchmarks/sizes.py [--scenes 60] [--weights FILE ...]
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from accuracy import prompt_iou, prompts
from weights import model_of

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from scenes import KINDS, draw

#: Training draws scenes from 0 on; these it never sees.
FIRST = 1_000_000
CLICKS = 8


def scenes(count: int) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int64], np.random.Generator]]:
    """Yield so many plain scenes, and so many of the other kinds in turn: group, picture, truth and a generator."""
    others = [kind for kind in KINDS if kind != "plain"]
    for group in ("plain", "other kinds"):
        for seed in range(count):
            rng = np.random.default_rng([FIRST, seed])
            kind = group if group in KINDS else others[seed % len(others)]
            image, labels = draw(kind, FIRST + seed)
            side = image.shape[0] * int(rng.choice([1, 2, 4]))
            image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
            truth = np.asarray(Image.fromarray(labels).resize((side, side), Image.Resampling.NEAREST)).astype(np.int64)
            yield group, image, truth, rng


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--weights", type=Path, nargs="+", help="weight files; by default the shipped one")
    options = parser.parse_args()
    models = {path.stem: model_of(path) for path in options.weights or ()} or {"foundseg-tiny": "foundseg-tiny"}
    figures: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for group, image, truth, rng in scenes(options.scenes):
        ids, clicks, _ = prompts(truth)
        chosen = rng.permutation(len(ids))[:CLICKS]
        areas = ndimage.sum_labels(truth > 0, truth, [ids[i] for i in chosen])
        for name, model in models.items():
            found = prompt_iou(image, truth, [ids[i] for i in chosen], [clicks[i] for i in chosen], model)
            for iou, area in zip(found, areas, strict=True):
                figures[group, int(np.log2(np.sqrt(4 * area / np.pi) / 6))][name].append(iou)
    for (group, octave), own in sorted(figures.items()):
        count = len(next(iter(own.values())))
        means = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in own.items())
        print(f"{group:12} {6 * 2**octave:4} to {12 * 2**octave:4} pixels, {count:4} objects: click {means}")


if __name__ == "__main__":
    main()

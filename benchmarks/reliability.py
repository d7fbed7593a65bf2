"""Are the scores true? Predicted against actual IoU on the held-out images, of clicks and of automatic masks.

python benchmarks/reliability.py [--every N] [--picture FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import napari_foundseg as fs
from _held_out import images
from accuracy import best_masks, prompts
from napari_foundseg.core.masks import Mask, iou
from napari_foundseg.core.measuring.comparison import match_objects

BINS = 10
SIDE, EDGE = 360, 40
COLOURS = {"clicks": (0, 114, 178), "automatic masks": (213, 94, 0)}


def click_pairs(image: NDArray[np.uint8], truth: NDArray[np.int64]) -> Iterator[tuple[float, float]]:
    """Yield predicted and actual IoU of a click on each of up to 20 objects, and of as many on the background."""
    ids, given, _ = prompts(truth)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(ids))[:20]
    ground = np.argwhere(truth == 0)
    away = ground[rng.integers(len(ground), size=len(chosen))]
    clicks = [given[i] for i in chosen] + [fs.Prompt(points=[tuple(map(int, at))]) for at in away]
    targets = [truth == ids[i] for i in chosen] + [np.zeros(truth.shape, bool)] * len(away)
    for mask, target in zip(best_masks(image, clicks), targets, strict=True):
        yield mask.predicted_iou, iou(mask, Mask.from_array(target))


def mask_pairs(image: NDArray[np.uint8], truth: NDArray[np.int64]) -> Iterator[tuple[float, float]]:
    """Yield predicted and actual IoU of every automatic mask, the doubted ones too."""
    found = fs.automatic(image, pred_iou_thresh=0.0)
    best = match_objects(found.labels, truth).best
    yield from zip(found.table["predicted_iou"], best, strict=True)


def draw(lines: dict[str, list[tuple[float, float]]], path: Path) -> None:
    """Draw predicted (across) against actual IoU (upwards); the diagonal is the truth."""
    picture = Image.new("RGB", (SIDE + 2 * EDGE, SIDE + 2 * EDGE), "white")
    pen = ImageDraw.Draw(picture)

    def place(x: float, y: float) -> tuple[float, float]:
        return EDGE + x * SIDE, EDGE + (1 - y) * SIDE

    pen.rectangle([place(0, 1), place(1, 0)], outline="black")
    pen.line([place(0, 0), place(1, 1)], fill="grey")
    for n, (name, points) in enumerate(lines.items()):
        pen.line([place(*p) for p in points], fill=COLOURS[name], width=3)
        pen.text((EDGE + 12, EDGE + 10 + 16 * n), name, fill=COLOURS[name])
    pen.text((EDGE + SIDE / 2 - 40, EDGE + SIDE + 12), "predicted IoU", fill="black")
    pen.text((4, EDGE - 16), "actual IoU", fill="black")
    picture.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="use every Nth image")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in COLOURS}
    for n, (_, _, image, truth) in enumerate(images()):
        if n % options.every == 0:
            pairs["clicks"] += click_pairs(image, truth)
            pairs["automatic masks"] += mask_pairs(image, truth)
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, own in pairs.items():
        predicted, actual = np.array(own, float).T
        at = np.clip((predicted * BINS).astype(int), 0, BINS - 1)
        error = 0.0
        print(name)
        for i in range(BINS):
            inside = at == i
            if inside.any():
                means = float(predicted[inside].mean()), float(actual[inside].mean())
                lines.setdefault(name, []).append(means)
                error += inside.mean() * abs(means[0] - means[1])
                print(f"  predicted {means[0]:.2f}  actual {means[1]:.2f}  ({inside.sum()} masks)")
        print(f"  expected calibration error {error:.3f}, correlation {np.corrcoef(predicted, actual)[0, 1]:.2f}")
    if options.picture:
        draw(lines, options.picture)


if __name__ == "__main__":
    main()

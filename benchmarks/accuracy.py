"""Accuracy of the built-in model on the held-out images, whole and per kind.

AP = tp / (tp + fp + fn) per image at IoU 0.50, 0.55 … 0.95, averaged over thresholds (mSA), then over images. A click
is put at each object's deepest point, a box around it; their IoU is averaged over objects of 30 pixels or more.

    python benchmarks/accuracy.py [--every N] [--grid]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import napari_foundseg as fs
from _held_out import images
from napari_foundseg.core.masks import Mask, iou
from napari_foundseg.core.measuring.comparison import match_objects


def prompts(truth: NDArray[np.int64]) -> tuple[list[int], list[fs.Prompt], list[fs.Prompt]]:
    """Return objects of 30 pixels or more, a click at the deepest point of each, and a box around each."""
    ids, clicks, boxes = [], [], []
    for i, part in enumerate(ndimage.find_objects(truth), 1):
        if part is None or (truth[part] == i).sum() < 30:
            continue
        depth = ndimage.distance_transform_edt(np.pad(truth[part] == i, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        rows, columns = part
        ids.append(i)
        clicks.append(fs.Prompt(points=[(y + rows.start, x + columns.start)]))
        boxes.append(fs.Prompt(box=(rows.start, columns.start, rows.stop - 1, columns.stop - 1)))
    return ids, clicks, boxes


def best_masks(image: NDArray[np.uint8], given: list[fs.Prompt], model: Any = "foundseg-tiny") -> list[Mask]:
    """Return each prompt's mask, the one that the model trusts most, before the overlap rule."""
    found: dict[int, Mask] = {}
    for mask in (fs.prompt(image, given, model=model).masks or ()) if given else ():
        found.setdefault(mask.label, mask)
    return [found[i + 1] for i in range(len(given))]


def prompt_iou(
    image: NDArray[np.uint8],
    truth: NDArray[np.int64],
    ids: list[int],
    given: list[fs.Prompt],
    model: Any = "foundseg-tiny",
) -> list[float]:
    """Return the IoU of each prompt's mask with its object."""
    return [iou(m, Mask.from_array(truth == i)) for m, i in zip(best_masks(image, given, model), ids, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="use every Nth image")
    parser.add_argument("--grid", action="store_true", help="measure the point grid too (slow)")
    options = parser.parse_args()
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    for n, (_, kind, image, truth) in enumerate(images()):
        if n % options.every:
            continue
        ap = match_objects(truth, fs.automatic(image).labels).precision
        row = {"mSA": [ap.mean()], "AP50": [ap[0]]}
        if options.grid:
            row["grid mSA"] = [match_objects(truth, fs.automatic(image, method="grid").labels).precision.mean()]
        ids, clicks, boxes = prompts(truth)
        if ids:
            row |= {"click": prompt_iou(image, truth, ids, clicks), "box": prompt_iou(image, truth, ids, boxes)}
        for name, values in row.items():
            figures[kind, name] += values
            figures["all", name] += values
    kinds = sorted({kind for kind, _ in figures}, key=lambda k: (k == "all", k))
    names = ["mSA", "AP50", "click", "box"] + ["grid mSA"] * options.grid
    print(f"{'':14}" + "".join(f"{name:>10}" for name in names))
    for kind in kinds:
        print(f"{kind:14}" + "".join(f"{np.mean(figures[kind, name]):10.3f}" for name in names))


if __name__ == "__main__":
    main()

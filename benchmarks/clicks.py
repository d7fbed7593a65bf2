"""Corrective clicks on the held-out images, and the box beside the ellipse that is inscribed in it.

The first click is at the object's deepest point, each further one at the deepest point of what is still wrong: positive
where it is missing, negative where it is too much. Mean IoU over up to 20 objects of 30 pixels or more an image.

    python benchmarks/clicks.py [--every N] [--split test]
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import napari_foundseg as fs
from _held_out import images
from accuracy import best_masks, prompts
from napari_foundseg.core.masks import Mask, iou, paint

CLICKS = 5
MOST = 20
Pixels = NDArray[np.bool_]


def whole(mask: Mask, shape: tuple[int, ...]) -> Pixels:
    """Return a mask as pixels of the image."""
    plane = np.zeros(shape, np.uint8)
    paint(plane, [(1, mask)])
    return plane > 0


def corrected(prompt: fs.Prompt, mask: Pixels, truth: Pixels) -> fs.Prompt:
    """Return the prompt with a click at the deepest point of what is wrong."""
    depth = ndimage.distance_transform_edt(np.pad(mask ^ truth, 1))[1:-1, 1:-1]
    if not depth.any():
        return prompt
    at = tuple(int(v) for v in np.unravel_index(depth.argmax(), depth.shape))
    return fs.Prompt(points=[*prompt.points, at], labels=[*prompt.labels, int(truth[at])])


def ellipse(box: tuple[float, ...], shape: tuple[int, int]) -> Pixels:
    """Return the ellipse inscribed in a box (y0, x0, y1, x1), both ends included."""
    y0, x0, y1, x1 = box
    y, x = np.ogrid[: shape[0], : shape[1]]
    away = ((y - (y0 + y1) / 2) / ((y1 - y0 + 1) / 2)) ** 2 + ((x - (x0 + x1) / 2) / ((x1 - x0 + 1) / 2)) ** 2
    return np.asarray(away <= 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="use every Nth image")
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    for n, (_, kind, image, truth) in enumerate(images(options.split)):
        ids, given, boxes = prompts(truth)
        chosen = np.unique(np.linspace(0, len(ids) - 1, min(MOST, len(ids))).astype(int)) if ids else []
        if n % options.every or not len(chosen):
            continue
        targets = [truth == ids[i] for i in chosen]
        own = [Mask.from_array(target) for target in targets]
        frames = [boxes[i] for i in chosen]
        row: dict[str, list[float]] = {}
        row["box"] = [iou(m, t) for m, t in zip(best_masks(image, frames), own, strict=True)]
        row["ellipse"] = [
            iou(Mask.from_array(ellipse(frame.box, truth.shape)), t) for frame, t in zip(frames, own, strict=True)
        ]
        clicks = [given[i] for i in chosen]
        for k in range(1, CLICKS + 1):
            masks = best_masks(image, clicks)
            row[str(k)] = [iou(m, t) for m, t in zip(masks, own, strict=True)]
            clicks = [corrected(p, whole(m, truth.shape), t) for p, m, t in zip(clicks, masks, targets, strict=True)]
        for name, values in row.items():
            figures[kind, name] += values
            figures["all", name] += values
    names = ["box", "ellipse", *(str(k) for k in range(1, CLICKS + 1))]
    print(f"{'':14}" + "".join(f"{name:>9}" for name in names))
    for kind in sorted({kind for kind, _ in figures}, key=lambda k: (k == "all", k)):
        print(f"{kind:14}" + "".join(f"{np.mean(figures[kind, name]):9.3f}" for name in names))


if __name__ == "__main__":
    main()

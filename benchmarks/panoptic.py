"""Panoptic quality of the built-in model on the held-out images: nuclei are things, background is stuff.

PQ of a class is computed over the segments of each image and averaged over images, and for nuclei over all images
together too, as Kirillov et al. (CVPR 2019) define it.

    python benchmarks/panoptic.py [--every N]
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np

import napari_foundseg as fs
from _held_out import images
from napari_foundseg.core.classes.panoptic import panoptic_quality


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="use every Nth image")
    options = parser.parse_args()
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    iou, segments = 0.0, 0.0
    for n, (_, kind, image, truth) in enumerate(images()):
        if n % options.every:
            continue
        found = fs.panoptic(image)
        of_pixels = np.where(truth > 0, 1, 2)
        quality = panoptic_quality((found.semantic, found.labels), (of_pixels, truth), things=(1,))
        at = quality.classes.index(1)
        total = (truth.max() + len(found)) / 2  # TP + FP / 2 + FN / 2
        iou, segments = iou + quality.quality[at] * total, segments + total
        for group in (kind, "all"):
            figures["nuclei", group].append(quality.of(1))
            figures["background", group].append(quality.of(2))
    for (what, group), values in sorted(figures.items()):
        print(f"{what:12} {group:16} PQ {np.mean(values):.3f} (mean of {len(values)} images)")
    print(f"{'nuclei':12} {'all':16} PQ {iou / segments:.3f} (all objects together)")


if __name__ == "__main__":
    main()

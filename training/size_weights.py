"""Fit what an object seen at an octave of the picture's size is worth: the row's `size_weights`.

Crops of `train` are enlarged by 0.5 to 10 and decoded at all octaves. The weights of `octaves.quality_terms` are
those of the least squares fit to each object's quality, the mean over IoU thresholds of whether it is above; each
picture counts alike.

    python training/size_weights.py [--crops 12] [--weights FILE] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import napari_foundseg as fs
from napari_foundseg.core.image import Image
from napari_foundseg.core.measuring.comparison import THRESHOLDS, match_objects
from napari_foundseg.core.watershed import instances
from napari_foundseg.tasks.automatic_settings import DecoderSettings
from napari_foundseg.tasks.windows.instance_maps import decode_maps
from napari_foundseg.tasks.windows.sizes.octaves import quality_terms

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from conditions import SIZES, crops, resized
from weights import model_of

_OCTAVES = (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
#: Keeps the weights of rare diameters finite.
_RIDGE = 1e-3


def examples(image: NDArray[np.uint8], truth: NDArray[np.int64], model: fs.Model) -> tuple[list, list]:
    """Return the terms and the quality of all objects that are seen at any octave."""
    settings = DecoderSettings()
    names = ("foreground_threshold", "centre_threshold", "boundary_threshold", "seed_smoothing", "foreground_smoothing")
    thresholds = {name: getattr(settings, name) for name in names}
    region = (0, 0, image.shape[0] - 1, image.shape[1] - 1)
    terms, quality = [], []
    for scale in _OCTAVES:
        maps = decode_maps(Image(image), (), region, model, lambda: None, lambda _: None, scale=scale)
        labels = instances(maps, **thresholds, min_area=20)
        if not labels.any():
            continue
        y, x = (
            np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
            for n, m in zip(truth.shape, labels.shape, strict=True)
        )
        match = match_objects(truth, labels[y[:, None], x])
        best = np.zeros(int(labels.max()))
        found = np.searchsorted(np.arange(1, len(best) + 1), match.found)
        np.maximum.at(best, found[match.pairs[:, 1]], match.iou)
        terms.append(quality_terms(maps, labels))
        quality.append((best[:, None] > THRESHOLDS).mean(axis=1))
    return terms, quality


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=12)
    parser.add_argument("--weights", type=Path, help="by default the shipped file")
    parser.add_argument("--out", type=Path, help="a JSON file for what is found")
    options = parser.parse_args()
    count = options.crops
    model = model_of(options.weights) if options.weights else fs.load_model("foundseg-tiny")
    left = right = 0.0
    for grey, truth in crops("train", "fluorescence", count):
        for factor in SIZES:
            image, labels = resized(grey, truth, factor)
            terms, quality = examples(np.clip(image + 0.5, 0, 255).astype(np.uint8), labels, model)
            if terms:
                a, b = np.concatenate(terms), np.concatenate(quality)
                left = left + a.T @ a / len(a)
                right = right + a.T @ b / len(a)
    weights = np.linalg.solve(left + _RIDGE * np.eye(len(right)), right)
    print("size_weights =", weights.round(4).tolist())
    if options.out:
        options.out.write_text(json.dumps({"size_weights": weights.round(4).tolist()}))


if __name__ == "__main__":
    main()

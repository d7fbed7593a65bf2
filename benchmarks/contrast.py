"""Objects found in pictures whose percentiles lose them, before and after the contrast is mended.

Fluorescence images of the held-out part, made hard as files are: background subtracted so that few pixels are left,
photon counts, padding with a fill value, a saturated speck, hot pixels. *Before* is with the plain percentiles.

    python benchmarks/contrast.py [--images N]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import napari_foundseg as fs
from _held_out import images
from napari_foundseg.core.measuring.comparison import match_objects

Pixels = NDArray[Any]
_SIDE = 1024


def sparse(grey: Pixels, truth: Pixels) -> tuple[Pixels, Pixels]:
    """Keep as many objects as cover less than 0.5 % of a field of 1024 by 1024, over zero."""
    cut = truth[:_SIDE, :_SIDE]
    areas = np.bincount(cut.ravel())
    areas[0] = 0
    kept = (areas > 30) & (np.cumsum(areas) < 0.004 * _SIDE**2)
    labels = np.zeros((_SIDE, _SIDE), truth.dtype)
    labels[: cut.shape[0], : cut.shape[1]] = np.where(kept[cut], cut, 0)
    image = np.zeros((_SIDE, _SIDE), np.uint16)
    image[: cut.shape[0], : cut.shape[1]] = grey[:_SIDE, :_SIDE] * 16
    return np.where(labels > 0, image, 0).astype(np.uint16), labels


def photons(grey: Pixels, truth: Pixels) -> tuple[Pixels, Pixels]:
    """Count few photons of the sparse field."""
    image, labels = sparse(grey, truth)
    bright = image / max(1, np.percentile(image[image > 0], 99))
    return np.random.default_rng(0).poisson(12 * bright).astype(np.uint16), labels


def hot(grey: Pixels, truth: Pixels) -> tuple[Pixels, Pixels]:
    """Add hot pixels to the sparse field."""
    image, labels = sparse(grey, truth)
    rng = np.random.default_rng(0)
    image.ravel()[rng.choice(image.size, image.size // 20_000, replace=False)] = 65535
    return image, labels


def padded(grey: Pixels, truth: Pixels) -> tuple[Pixels, Pixels]:
    """Fill a stripe with the greatest value."""
    image = grey.astype(np.uint16) * 8
    width = image.shape[1] // 5
    image[:, :width] = 65535
    return image, np.where(np.arange(image.shape[1]) < width, 0, truth)


def speck(grey: Pixels, truth: Pixels) -> tuple[Pixels, Pixels]:
    """Saturate a square on one percent of the pixels."""
    image = grey.astype(np.uint16) * 8
    side = int(np.ceil(np.sqrt(image.size / 100)))
    image[:side, :side] = 65535
    labels = truth.copy()
    labels[:side, :side] = 0
    return image, labels


KINDS: tuple[Callable[[Pixels, Pixels], tuple[Pixels, Pixels]], ...] = (sparse, photons, hot, padded, speck)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=6)
    options = parser.parse_args()
    rows = [row for row in images() if row[1] == "fluorescence"]
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, options.images).round().astype(int)]
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _, _, pixels, truth in chosen:
        grey = pixels[..., :3].mean(-1) if pixels.ndim == 3 else pixels.astype(float)
        for kind in KINDS:
            image, labels = kind(grey, truth)
            low, high = map(float, np.percentile(image, (0.5, 99.5)))
            before = fs.automatic(fs.Image(image, normalisation=fs.Limits(low=low, high=high))).labels
            for name, found in (("before", before), ("after", fs.automatic(image).labels)):
                figures[kind.__name__][name].append(float(match_objects(labels, found).precision[0]))
                figures[kind.__name__][f"found {name}"].append(float(found.max()))
            figures[kind.__name__]["truth"].append(float(len(np.unique(labels)) - 1))
    print(f"{'':10}{'AP50 before':>14}{'AP50 after':>14}{'found before':>14}{'found after':>14}{'truth':>8}")
    for kind, own in figures.items():
        numbers = f"{sum(own['found before']):14.0f}{sum(own['found after']):14.0f}{sum(own['truth']):8.0f}"
        print(f"{kind:10}{np.mean(own['before']):14.3f}{np.mean(own['after']):14.3f}{numbers}")


if __name__ == "__main__":
    main()

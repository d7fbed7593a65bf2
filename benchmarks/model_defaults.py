"""micro-sam's maps through our watershed: with the model's own defaults, and with foundseg-tiny's.

The maps are made of truths of held-out images as micro-sam's decoder is trained to give them: foreground; distance to
the object's centre and to its boundary, each over the object's largest, small deep inside. Mean mSA over the images.

    python benchmarks/model_defaults.py [--images N]
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from _held_out import read, rows
from napari_foundseg.core.measuring.comparison import match_objects
from napari_foundseg.core.watershed import instances
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.task_models import model_defaults

_THRESHOLDS = ("foreground_threshold", "centre_threshold", "boundary_threshold", "seed_smoothing",
               "foreground_smoothing", "min_area")  # fmt: skip
_HOW = ("truth", "blurred, noise", "0.75 inside")


def maps_of(truth: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return maps of micro-sam's kind of a label image."""
    maps = np.stack([truth > 0, np.ones(truth.shape), np.ones(truth.shape)]).astype(np.float32)
    for label, part in enumerate(ndimage.find_objects(truth), 1):
        if part is None:
            continue
        inside = truth[part] == label
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        centre = np.unravel_index(depth.argmax(), depth.shape)
        away = np.hypot(*(np.indices(inside.shape) - np.reshape(centre, (2, 1, 1))))
        maps[1][part][inside] = (away / max(1, away[inside].max()))[inside]
        maps[2][part][inside] = (1 - depth / depth.max())[inside]
    return maps


def spoilt(maps: NDArray[np.float32], how: str) -> NDArray[np.float32]:
    """Return maps as a decoder gives them that is not perfect."""
    if how == "truth":
        return maps
    noise = np.random.default_rng(0).normal(0, 0.05, maps.shape)
    blurred = np.stack([ndimage.gaussian_filter(part, 2) for part in maps]) + noise
    if how == "0.75 inside":
        blurred[0] *= 0.75
    return np.clip(blurred, 0, 1).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=14)
    options = parser.parse_args()
    settings = {
        "foundseg-tiny's": TASKS["automatic"].settings("decoder", {}),
        "its own": TASKS["automatic"].settings("decoder", model_defaults("micro-sam-vit-b-lm", "automatic", "decoder")),
    }
    test = rows()
    chosen = [test[i] for i in np.linspace(0, len(test) - 1, options.images).round().astype(int)]
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in chosen:
        truth = read(row)[1]
        maps = maps_of(truth)
        for how in _HOW:
            for whose, values in settings.items():
                found = instances(spoilt(maps, how), **{field: getattr(values, field) for field in _THRESHOLDS})
                figures[how, whose].append(float(match_objects(truth, found).precision.mean()))
    print(f"{'defaults':18}" + "".join(f"{how:>20}" for how in _HOW))
    for whose in settings:
        print(f"{whose:18}" + "".join(f"{np.mean(figures[how, whose]):20.3f}" for how in _HOW))


if __name__ == "__main__":
    main()

"""Clusters without labels: texture mosaics whose truth is exact, held-out nuclei, and how long a fit takes.

No labels are used in any fit; but foundseg-tiny's encoder has seen labels of the training part of split.csv, so for
nuclei it is not a blind network. Nuclei: fitted to images of `train`, scored on `test`: the union of clusters that fits
the truth best, image by image, for every method alike.

    python benchmarks/clusters.py --only textures layouts
    python benchmarks/clusters.py --only nuclei [--every N] [--kinds fluorescence histology]
    python benchmarks/clusters.py --only time crf
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from skimage import data

import napari_foundseg as fs
from _held_out import images, mosaic
from napari_foundseg.core.clusters.cluster_matching import match_clusters
from napari_foundseg.core.clusters.clusters import find_clusters
from napari_foundseg.core.clusters.crf import refine_with_crf
from napari_foundseg.models.loading import load_model
from napari_foundseg.tasks import cluster
from napari_foundseg.tasks.windows.features import feature_windows, features_of

TEXTURES = ("brick", "grass", "gravel")
#: Pixels over which features of textures are averaged, for every method.
CONTEXT = 36
#: Of the training images every so many are fitted to.
FITTED = 6


def textures(seed: int, side: int = 512, regions: int = 9) -> tuple[Any, Any]:
    """Regions around random points, as many of each texture, each texture shifted at random."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    points, kinds = rng.uniform(0, side, (regions, 2)), rng.permutation(np.arange(regions) % 3)
    truth = kinds[((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2).argmin(-1)]
    shifted = [np.roll(getattr(data, name)(), rng.integers(0, 512, 2), (0, 1))[:side, :side] for name in TEXTURES]
    return np.choose(truth, shifted).astype(np.uint8), truth


def on_textures(count: int = 8) -> None:
    """Fit to the mosaics themselves, without labels; every method has the same features."""
    scenes = [textures(seed) for seed in range(count)]
    stack, truth = np.stack([i for i, _ in scenes]), np.stack([t for _, t in scenes])
    print(f"texture mosaics, {count} of 512 x 512, mean (least) Hungarian accuracy, and how often above k-means")
    fs.fit_stego(stack, name="textures", n_clusters=3, context=CONTEXT)
    runs: dict[str, dict[str, Any]] = {
        "k-means": {"method": "kmeans", "n_clusters": 3, "context": CONTEXT},
        "spherical k-means": {"method": "spherical", "n_clusters": 3, "context": CONTEXT},
        "STEGO": {"model": "textures"},
    }
    for crf in (False, True):
        scores = {}
        for name, given in runs.items():
            found = fs.cluster(stack, crf=crf, **given).labels
            each = np.array([match_clusters(a, b).accuracy for a, b in zip(found, truth, strict=True)])
            scores[name] = each
            above = (each > scores["k-means"]).sum()
            print(f"  CRF {crf!s:5} {name:18} {each.mean():.3f} ({each.min():.3f}) {above} of {count}", flush=True)


def on_layouts(count: int = 12) -> None:
    """Fit to each of some mosaics alone; a texture covers little or most of it."""
    print(f"texture mosaics of {count} layouts, each fitted alone, CRF off: Hungarian accuracy")
    worst = 1.0
    for seed in range(1000, 1000 + count):
        image, truth = textures(seed, regions=4 + seed % 10)
        shares = np.bincount(truth.ravel()) / truth.size
        fitted = fs.fit_stego(image, name=f"layout-{seed}", n_clusters=3, context=CONTEXT)
        ways = {
            "k-means": {"method": "kmeans", "n_clusters": 3, "context": CONTEXT},
            "spherical": {"method": "spherical", "n_clusters": 3, "context": CONTEXT},
            "spherical, plain mean": {
                "method": "spherical", "n_clusters": 3, "context": CONTEXT, "equal_weight": False,
            },
            "STEGO": {"model": fitted.model.name},
        }  # fmt: skip
        found = {name: match_clusters(fs.cluster(image, crf=False, **given).labels, truth).accuracy
                 for name, given in ways.items()}  # fmt: skip
        worst = min(worst, found["STEGO"] - max(found["k-means"], found["spherical"], found["spherical, plain mean"]))
        words = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        print(f"  {seed} ({', '.join(f'{share:.2f}' for share in shares)})  {words}; {fitted.notes[1:]}", flush=True)
    print(f"  the worst of STEGO against the best of the others: {worst:+.3f}")


def best_foreground(found: Any, truth: Any) -> float:
    """The largest IoU with the foreground of any union of clusters."""
    ids = np.unique(found)
    unions = itertools.chain.from_iterable(itertools.combinations(ids, n) for n in range(1, len(ids) + 1))
    return max((np.isin(found, u) & truth).sum() / (np.isin(found, u) | truth).sum() for u in unions)


def on_pixels(image: Any, count: int) -> Any:
    channels = image[..., :3] if image.ndim == 3 else image[..., None]
    pixels = channels.reshape(-1, channels.shape[-1]).astype(np.float32)
    sample = pixels[:: max(1, len(pixels) // 20_000)]
    return find_clusters(sample, count, "euclidean").nearest(pixels).reshape(image.shape[:2])


class OneForAll:
    """k-means as STEGO is used: centres found once in the features of many images, applied to every other one."""

    linear = None

    def __init__(self, model: Any, pictures: list[Any], count: int) -> None:
        cells = [
            features_of(model, fs.Image(image).rgb((), box)) for image in pictures for box in windows(image, model)
        ]
        each = max(20, 20_000 // len(cells))
        flat = [one.reshape(len(one), -1).T for one in cells]
        sample = np.concatenate([one[np.linspace(0, len(one) - 1, each).astype(int)] for one in flat])
        self._mean, self._scale = sample.mean(0), np.maximum(sample.std(0), 1e-4)
        # The catalogue knows the name of the model underneath.
        self._model, self.name, self.key, self.device = model, model.name, f"k-means-{count}", model.device
        self.window, self.features_window, self.feature_stride = model.window, model.features_window, 4
        self.feature_offset, self.feature_margin = model.feature_offset, model.feature_margin
        self.sample = (sample - self._mean) / self._scale
        self.clusters = find_clusters(self.sample, count, "euclidean")

    def features(self, rgb: Any) -> Any:
        found = features_of(self._model, rgb).astype(np.float32)
        return ((found - self._mean[:, None, None]) / self._scale[:, None, None]).astype(np.float16)


def windows(image: Any, model: Any) -> list[Any]:
    return [core for _, core in feature_windows(image.shape[:2], model)]


def on_nuclei(every: int, kinds: list[str]) -> None:
    """Fit to training images, without labels; the scores are those of test images."""
    for kind in kinds:
        own = [image for _, k, image, _ in images("train") if k == kind][::FITTED]
        shown = [(image, truth > 0) for _, k, image, truth in images("test") if k == kind and truth.any()][::every]
        start, cpu = time.perf_counter(), time.process_time()
        fs.fit_stego(own, name=kind)
        print(f"{kind}: fitted to {len(own)} images of train, {spent(start, cpu)}; {len(shown)} images of test")
        print("  mean foreground IoU of the best union of clusters, CRF on (but for pixels)", flush=True)
        for count in (2, 3, 4):
            for name, way in ways(kind, count, OneForAll(load_model("foundseg-tiny"), own, count)).items():
                each = [best_foreground(way(image), truth) for image, truth in shown]
                print(f"  k = {count}  {name:30} {np.mean(each):.3f}", flush=True)


def ways(kind: str, count: int, plain: OneForAll) -> dict[str, Callable[[Any], Any]]:
    return {
        "k-means, pixels": lambda image: on_pixels(image, count),
        "k-means, features, each image": lambda image: fs.cluster(image, method="kmeans", n_clusters=count).labels,
        "k-means, features, as STEGO": lambda image: clustered(image, plain),
        "STEGO": lambda image: fs.cluster(image, model=kind, n_clusters=count).labels,
    }


def clustered(image: Any, model: Any) -> Any:
    task = cluster.TASK
    return task.run(fs.Image(image), task.inputs.parse({}), task.settings("stego", {}), model).labels


def time_a_fit() -> None:
    whole, _ = mosaic(4096)
    crops = [whole[y : y + 512, x : x + 512] for y in range(0, 2560, 512) for x in range(0, 3072, 512)]
    start, cpu = time.perf_counter(), time.process_time()
    fs.fit_stego(crops, name="timed")
    print(f"fit to {len(crops)} images of 512 x 512: {spent(start, cpu)}, load {os.getloadavg()[0]:.1f}", flush=True)
    start, cpu = time.perf_counter(), time.process_time()
    task = cluster.TASK
    settings = task.settings("stego", {"crf": False})
    task.run(fs.Image(whole), task.inputs.parse({}), settings, load_model("timed"))
    print(f"4096 x 4096 without CRF: {spent(start, cpu)}, load {os.getloadavg()[0]:.1f}", flush=True)
    import resource

    print(f"largest resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def time_crf() -> None:
    rng = np.random.default_rng(0)
    rough = rng.normal(0, 2, (27, 64, 64)).repeat(16, 1).repeat(16, 2).astype(np.float32)
    p = np.exp(rough) / np.exp(rough).sum(0)
    grey = np.repeat(mosaic(1024)[0][..., None], 3, 2)
    colour = np.ascontiguousarray(data.immunohistochemistry().repeat(2, 0).repeat(2, 1)[:1024, :1024])
    for name, rgb in (("nuclei, grey", grey), ("stained tissue, RGB", colour)):
        start, cpu = time.perf_counter(), time.process_time()
        refine_with_crf(p, rgb)
        print(
            f"CRF of 1024 x 1024 x 27 classes, {name}: {spent(start, cpu)}, load {os.getloadavg()[0]:.1f}", flush=True
        )


def spent(start: float, cpu: float) -> str:
    return f"{time.perf_counter() - start:.1f} s ({time.process_time() - cpu:.1f} s of processor)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="use every Nth held-out image")
    parser.add_argument("--only", nargs="*", default=["textures", "layouts", "nuclei", "time", "crf"])
    parser.add_argument("--kinds", nargs="*", default=["fluorescence", "histology"])
    options = parser.parse_args()
    parts = {
        "textures": on_textures,
        "layouts": on_layouts,
        "nuclei": lambda: on_nuclei(options.every, options.kinds),
        "time": time_a_fit,
        "crf": time_crf,
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FOUNDSEG_CACHE"] = folder
        for name in options.only:
            parts[name]()


if __name__ == "__main__":
    main()

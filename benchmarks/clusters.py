"""Clusters without labels: texture mosaics whose truth is exact, held-out nuclei, and how long a fit takes.

No labels are used in any fit; but foundseg-tiny's encoder has seen labels of BBBC038's training part, so for nuclei it
is no blind network. Nuclei: the union of clusters that fits the truth best, image by image, for every method alike.

    python benchmarks/clusters.py [--every N] [--only textures nuclei time crf]
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections import defaultdict
from typing import Any

import numpy as np
from skimage import data

import napari_foundseg as fs
from _held_out import images, mosaic
from napari_foundseg.core.clusters import find_clusters
from napari_foundseg.core.crf import refine
from napari_foundseg.core.matching import match
from napari_foundseg.models.loading import load_model
from napari_foundseg.tasks import cluster

TEXTURES = ("brick", "grass", "gravel")


def textures(seed: int, side: int = 512) -> tuple[Any, Any]:
    """Nine regions around random points, three of each texture, each texture shifted at random."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    points, kinds = rng.uniform(0, side, (9, 2)), rng.permutation(np.arange(9) % 3)
    truth = kinds[((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2).argmin(-1)]
    shifted = [np.roll(getattr(data, name)(), rng.integers(0, 512, 2), (0, 1))[:side, :side] for name in TEXTURES]
    return np.choose(truth, shifted).astype(np.uint8), truth


def on_textures(count: int = 8) -> None:
    scenes = [textures(seed) for seed in range(count)]
    stack, truth = np.stack([i for i, _ in scenes]), np.stack([t for _, t in scenes])
    print(f"texture mosaics, {count} of 512 x 512, mean (least) Hungarian accuracy")
    for context in (0, 36):
        fs.fit_stego(stack, name=f"textures-{context}", n_clusters=3, context=context)
        runs: dict[str, dict[str, Any]] = {
            "STEGO": {"model": f"textures-{context}"},
            "k-means": {"method": "kmeans", "n_clusters": 3, "context": context},
            "spherical k-means": {"method": "spherical", "n_clusters": 3, "context": context},
        }
        for crf in (False, True):
            for name, given in runs.items():
                found = fs.cluster(stack, crf=crf, **given).labels
                each = [match(a, b).accuracy for a, b in zip(found, truth, strict=True)]
                print(
                    f"  context {context:2} CRF {crf!s:5} {name:18} {np.mean(each):.3f} ({min(each):.3f})", flush=True
                )


def best_foreground(found: Any, truth: Any) -> float:
    """The largest IoU with the foreground of any union of clusters."""
    ids = np.unique(found)
    unions = itertools.chain.from_iterable(itertools.combinations(ids, n) for n in range(1, len(ids) + 1))
    return max((np.isin(found, u) & truth).sum() / (np.isin(found, u) | truth).sum() for u in unions)


def on_pixels(image: Any, count: int) -> Any:
    pixels = image[..., :3].reshape(len(image) * image.shape[1], -1).astype(np.float32)
    sample = pixels[:: max(1, len(pixels) // 20_000)]
    return find_clusters(sample, count, "euclidean").nearest(pixels).reshape(image.shape[:2])


def on_nuclei(every: int) -> None:
    rows = [row for n, row in enumerate(images()) if n % every == 0]
    for kind in ("fluorescence", "histology"):
        own = [(image, truth > 0) for _, k, image, truth in rows if k == kind and (truth > 0).any()]
        name = f"nuclei-{kind}"
        fs.fit_stego([image for image, _ in own], name=name)
        scores: dict[tuple[str, int], list[float]] = defaultdict(list)
        for count in (2, 3, 4):
            for image, truth in own:
                found = {
                    "STEGO": fs.cluster(image, model=name, n_clusters=count).labels,
                    "k-means, same features": fs.cluster(image, method="kmeans", n_clusters=count).labels,
                    "k-means, pixels": on_pixels(image, count),
                }
                for method, labels in found.items():
                    scores[method, count].append(best_foreground(labels, truth))
        print(f"{kind}, {len(own)} images, foreground IoU of the best union, CRF on (but for pixels)")
        for (method, count), each in sorted(scores.items()):
            print(f"  {method:24} k = {count}  {np.mean(each):.3f}", flush=True)


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
        refine(p, rgb)
        print(
            f"CRF of 1024 x 1024 x 27 classes, {name}: {spent(start, cpu)}, load {os.getloadavg()[0]:.1f}", flush=True
        )


def spent(start: float, cpu: float) -> str:
    return f"{time.perf_counter() - start:.1f} s ({time.process_time() - cpu:.1f} s of processor)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="use every Nth held-out image")
    parser.add_argument("--only", nargs="*", default=["textures", "nuclei", "time", "crf"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FOUNDSEG_CACHE"] = folder
        for name in options.only:
            {"textures": on_textures, "nuclei": lambda: on_nuclei(options.every), "time": time_a_fit, "crf": time_crf}[
                name
            ]()


if __name__ == "__main__":
    main()

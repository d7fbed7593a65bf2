"""Divide the nuclei images into train, val and test by look, and write ``split.csv``.

Near-duplicates (crops of one slide, fields of one plate) form groups, found by average-linkage clustering of a few
descriptors of appearance. A group goes whole to test or stays out of it. ``val`` is every 13th of the images left,
group by group: it is for choosing, not for judging. Deterministic: the same data give the same file.

    python training/split.py
"""

import csv
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage

ROOT = Path(__file__).resolve().parent
SPLIT = ROOT / "split.csv"
THRESHOLD = {"fluorescence": 1.4, "histology": 2.4, "brightfield": 1.2}
TEST_SHARE = 0.23
VAL_EVERY = 13
SEED = 4


def data_folder() -> Path:
    """Return the folder of the nuclei images (``$FOUNDSEG_DATA/dsb2018``)."""
    return Path(os.environ.get("FOUNDSEG_DATA", ROOT.parent.parent / "shared" / "data")) / "dsb2018"


def read_index(folder: Path) -> list[dict[str, str]]:
    """Return the rows of ``index.csv``."""
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def spectrum(grey: NDArray[np.float32], bins: int = 8) -> NDArray[np.float64]:
    """Return the logarithm of the radial power spectrum of the central square, with its mean taken off, `(bins,)`."""
    side = min(*grey.shape, 256)
    tile = grey[:side, :side] - grey[:side, :side].mean()
    power = np.abs(np.fft.rfft2(tile * np.outer(np.hanning(side), np.hanning(side)))) ** 2
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    edges = np.geomspace(2 / side, 0.5, bins + 1)
    which = np.digitize(radius, edges) - 1
    curve = np.log([power[which == i].mean() + 1e-9 for i in range(bins)])
    return np.asarray(curve - curve.mean())


def describe(folder: Path, row: dict[str, str]) -> NDArray[np.float64]:
    """Return the appearance of one image: levels, colour, contrast, texture, size of frame and of objects."""
    rgb = np.asarray(Image.open(folder / "images" / f"{row['name']}.png").convert("RGB"), np.float32)
    labels = np.asarray(Image.open(folder / "labels" / f"{row['name']}.png"))
    grey = rgb.mean(axis=2)
    levels = np.log(np.percentile(grey, [5, 25, 50, 90, 99]) + 4)
    ground = rgb[grey >= np.percentile(grey, 80)].mean(axis=0)
    colour = (ground - ground.mean()) / (ground.mean() + 8) * 40
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    size = np.log(np.median(areas)) if areas.size else 5.0
    frame = 2 * np.log([float(row["height"]), float(row["width"])])
    texture = 0.35 * spectrum(grey)
    return np.concatenate([1.2 * levels, colour, [0.6 * size], frame, texture])


def group_by_look(features: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """Return the group of every row of `features`, shape `(N,)`; outliers (groups of one or two) join the nearest."""
    tree = linkage(features, method="average")
    groups = fcluster(tree, threshold, criterion="distance")
    if groups.max() < 3:
        groups = fcluster(tree, 3, criterion="maxclust")
    names, counts = np.unique(groups, return_counts=True)
    large = names[counts >= 3]
    centres = np.stack([features[groups == g].mean(axis=0) for g in large])
    for i in np.flatnonzero(~np.isin(groups, large)):
        groups[i] = large[np.linalg.norm(centres - features[i], axis=1).argmin()]
    return np.asarray(groups, np.int64)


def assign(groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.str_]:
    """Send whole groups to test until it has its share (the largest trains); cut val evenly out of what is left."""
    names, counts = np.unique(groups, return_counts=True)
    split = np.full(groups.shape, "train", dtype="<U5")
    wanted = TEST_SHARE * groups.size
    for group in rng.permutation(names[np.arange(names.size) != counts.argmax()]):
        held = np.count_nonzero(split == "test")
        size = np.count_nonzero(groups == group)
        if (held == 0 and size <= 1.6 * wanted) or held + size <= 1.1 * wanted:
            split[groups == group] = "test"
    rest = np.flatnonzero(split == "train")
    rest = rest[np.argsort(groups[rest], kind="stable")]
    split[rest[VAL_EVERY // 2 :: VAL_EVERY]] = "val"
    return split


def main() -> None:
    """Write ``split.csv`` and print how many images of each kind went where."""
    folder = data_folder()
    rows = read_index(folder)
    kinds = np.array([row["kind"] for row in rows])
    features = np.stack([describe(folder, row) for row in rows])
    rng = np.random.default_rng(SEED)
    lines = []
    for kind, threshold in THRESHOLD.items():
        members = np.flatnonzero(kinds == kind)
        groups = group_by_look(features[members], threshold)
        split = assign(groups, rng)
        print(
            kind, f"{groups.max()} groups, largest {np.bincount(groups).max()}", *np.unique(split, return_counts=True)
        )
        lines += [
            (rows[i]["name"], kind, f"{kind[0]}{g:03d}", s) for i, g, s in zip(members, groups, split, strict=True)
        ]
    with SPLIT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "kind", "group", "split"])
        writer.writerows(sorted(lines))


if __name__ == "__main__":
    main()

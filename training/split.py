"""Divide the images into train, val and test, and write ``split.csv``.

Nuclei are divided by look: near-duplicates (crops of one slide, fields of one plate) form groups, found by
average-linkage clustering of a few descriptors of appearance. A group goes whole to test or stays out of it. ``val``
is every 13th of the images left, group by group: it is for choosing, not for judging.

Of ``general`` the file names tell the animal, sample or field (`NAMED`), and images of one are in one part. The names
of the ultrasound images tell nothing: there images that correlate are one group. Deterministic: the same data give
the same file.

    python training/split.py
"""

import csv
import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).resolve().parent
SPLIT = ROOT / "split.csv"
THRESHOLD = {"fluorescence": 1.4, "histology": 2.4, "brightfield": 1.2}
TEST_SHARE = 0.23
VAL_EVERY = 13
SEED = 4


class Named(NamedTuple):
    """A folder of ``general`` whose file names tell what belongs together, and the groups of test and val."""

    kind: str
    group: str
    test: tuple[str, ...]
    val: tuple[str, ...]


NAMED = {
    "ampis_powder_sem": Named("powder", r"powder_(Sc\d)", ("Sc2",), ("Sc3",)),
    "axondeepseg_axon_sem": Named("axons", r"sub-(rat\d)", ("rat2", "rat3"), ("rat6",)),
    "nasa_superalloy_sem": Named("superalloy", r"super_(spot\d|.*?)_", ("spot5", "spot7", "lshr"), ("spot6",)),
    "nasa_meltpool_optical": Named("melt pools", r"melt_Slice(-?\d+)", ("-10",), ()),
    "usiigaci_phase_contrast": Named(
        "phase contrast", r"set(\d\d)", ("01", "02", "19", "20", "38"), ("08", "27", "45")
    ),
}
ULTRASOUND = "usgra_nerve_vessel_ultrasound"
#: Kinds of which only some objects are labelled: they teach prompts, not what is background, and automatic masks cannot
#: be judged on them.
PARTLY = ("melt pools", "ultrasound")
#: Ultrasound images correlate at least so much where they show one place of one subject.
ALIKE = 0.75


def data_folder() -> Path:
    """Return the folder of all images (``$FOUNDSEG_DATA``)."""
    return Path(os.environ.get("FOUNDSEG_DATA", ROOT.parent.parent / "shared" / "data"))


class Row(NamedTuple):
    """A line of ``split.csv``; `folder` is below the data folder."""

    name: str
    kind: str
    group: str
    split: str
    folder: str


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


def nuclei() -> list[Row]:
    """Return the rows of the nuclei images."""
    folder = data_folder() / "dsb2018"
    rows = read_index(folder)
    kinds = np.array([row["kind"] for row in rows])
    features = np.stack([describe(folder, row) for row in rows])
    rng = np.random.default_rng(SEED)
    lines = []
    for kind, threshold in THRESHOLD.items():
        members = np.flatnonzero(kinds == kind)
        groups = group_by_look(features[members], threshold)
        split = assign(groups, rng)
        names = [rows[i]["name"] for i in members]
        lines += [Row(n, kind, f"{kind[0]}{g:03d}", s, "dsb2018") for n, g, s in zip(names, groups, split, strict=True)]
    return lines


def named(folder: str) -> list[Row]:
    """Return the rows of a folder of ``general`` whose file names tell the groups."""
    kind, pattern, test, val = NAMED[folder]
    lines = []
    for path in sorted((data_folder() / "general" / folder / "images").glob("*.png")):
        found = re.match(pattern, path.stem)
        group = found.group(1) if found else path.stem
        split = "test" if group in test else "val" if group in val else "train"
        lines.append(Row(path.stem, kind, group, split, f"general/{folder}"))
    return lines


def ultrasound() -> list[Row]:
    """Return the rows of the ultrasound images; images that correlate are one group."""
    paths = sorted((data_folder() / "general" / ULTRASOUND / "images").glob("*.png"))
    small = [np.asarray(Image.open(path).convert("L").resize((48, 48)), float).ravel() for path in paths]
    alike = np.corrcoef(np.stack(small)) > ALIKE
    groups = connected_components(alike)[1].astype(np.int64)
    split = assign(groups, np.random.default_rng(SEED))
    parts = zip(paths, groups, split, strict=True)
    return [Row(p.stem, "ultrasound", f"u{g:03d}", s, f"general/{ULTRASOUND}") for p, g, s in parts]


def main() -> None:
    """Write ``split.csv`` and print how many images of each kind went where."""
    lines = [row for part in (nuclei(), *map(named, NAMED), ultrasound()) for row in part]
    for (kind, split), count in sorted(Counter((row.kind, row.split) for row in lines).items()):
        print(kind, split, count)
    with SPLIT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(sorted(lines, key=lambda row: (row.folder, row.name)))


if __name__ == "__main__":
    main()

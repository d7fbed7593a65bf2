"""The held-out images, and mosaics of them, for the benchmarks; all that ``training/split.csv`` tells is read here."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.io import imread
from skimage.segmentation import relabel_sequential

ROOT = Path(__file__).parents[1]


#: Kinds of nuclei, from ``dsb2018``; the others are from ``general``.
NUCLEI = ("fluorescence", "histology", "brightfield")


def rows(split: str = "test", *, others: bool = False) -> list[dict[str, str]]:
    """Return the rows of a part of the split: the nuclei, or all `others`."""
    with (ROOT / "training" / "split.csv").open(newline="") as file:
        return [r for r in csv.DictReader(file) if r["split"] == split and (r["kind"] not in NUCLEI) == others]


def read(row: dict[str, str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return an image and its truth; end with a clear message where the data is absent."""
    folder = Path(os.environ.get("FOUNDSEG_DATA", ROOT / "../shared/data")).resolve() / row["folder"]
    if not folder.is_dir():
        sys.exit(
            f"the annotated images are not in {folder}; set FOUNDSEG_DATA to the folder that holds {row['folder']}"
        )
    name = f"{row['name']}.png"
    return imread(folder / "images" / name), imread(folder / "labels" / name).astype(np.int64)


def images(
    split: str = "test", *, others: bool = False
) -> Iterator[tuple[str, str, NDArray[np.uint8], NDArray[np.int64]]]:
    """Yield name, kind, image and truth of every image of a part of the split: the nuclei, or all `others`."""
    for row in rows(split, others=others):
        yield row["name"], row["kind"], *read(row)


def mosaic(side: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return a grey mosaic of fluorescence images of 520 by 696, and its truth, (side, side)."""
    tiles = [read(row) for row in rows() if row["kind"] == "fluorescence"]
    tiles = [(image, truth) for image, truth in tiles if image.shape == (520, 696)]
    image, truth = np.zeros((side, side), np.uint8), np.zeros((side, side), np.int64)
    count, n = 0, 0
    for y in range(0, side, 520):
        for x in range(0, side, 696):
            part, labels = tiles[n % len(tiles)]
            n += 1
            h, w = min(520, side - y), min(696, side - x)
            cut = relabel_sequential(labels[:h, :w])[0]
            stretched = np.clip(part[:h, :w] * (255.0 / max(1, np.percentile(part, 99.8))), 0, 255)
            image[y : y + h, x : x + w] = stretched
            truth[y : y + h, x : x + w] = np.where(cut > 0, cut + count, 0)
            count += int(cut.max())
    return image, truth

"""*Split* on objects of the held-out images that touch, by clicks as users make them.

Two truths of 30 pixels or more that touch, or three in a row, are taken as one object, and one click is made in each:
at its deepest point, at random in its middle half, at random anywhere 2 pixels inside. The figures are the mean IoU of
the worst part and the share of it below 0.7: by the outline alone, with the image, and with foundseg-tiny.

    python benchmarks/splits.py [--split test] [--every N] [--images N]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import napari_foundseg as fs
from _held_out import images
from napari_foundseg.core.editing import split_edits

WAYS = ("deepest", "middle half", "anywhere")
BY = ("outline", "image", "model")
SMALLEST = 30
Pixel = tuple[int, ...]
Labels = NDArray[np.int64]


def touching(truth: Labels) -> list[tuple[int, int]]:
    """Return the pairs of objects that share a side of a pixel, neither smaller than `SMALLEST`."""
    sizes = np.bincount(truth.ravel())
    found: set[tuple[int, int]] = set()
    for one, other in ((truth[:-1], truth[1:]), (truth[:, :-1], truth[:, 1:])):
        apart = (one != other) & (one > 0) & (other > 0)
        found |= set(map(tuple, np.unique(np.sort([one[apart], other[apart]], axis=0), axis=1).T.tolist()))
    return sorted(pair for pair in found if min(sizes[list(pair)]) >= SMALLEST)


def triples(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return one row of three objects for each object that touches two or more: its first two neighbours and it."""
    near: dict[int, list[int]] = {}
    for a, b in pairs:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    return sorted({(*sorted(others[:2]), middle) for middle, others in near.items() if len(others) > 1})


def click(part: NDArray[np.bool_], way: str, rng: np.random.Generator) -> Pixel:
    """Return a pixel of a part where a user would click."""
    depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    deepest = np.unravel_index(depth.argmax(), depth.shape)
    if way == "deepest":
        return tuple(int(c) for c in deepest)
    among = np.argwhere(depth >= depth.max() / 2 if way == "middle half" else depth > 2)
    return tuple(int(c) for c in (among[rng.integers(len(among))] if len(among) else deepest))


def divided(image: fs.Image, labels: Labels, clicks: Sequence[Pixel], by: str) -> Labels:
    """Split object 1 of a label image; the part of the nth click becomes object n."""
    if by == "model":
        return fs.split(image, labels, 1, clicks).labels.astype(np.int64)
    pixels = np.asarray(image.levels[0], float)
    grey = pixels if pixels.ndim == 2 else pixels[..., :3].mean(-1)
    out = labels.copy()
    picture = None if by == "outline" else (lambda box: grey[box])
    for box, values in split_edits.split(labels, 1, clicks, [1.0, 1.0], 2, picture):
        out[box] = values
    return out


def worst(image: fs.Image, truth: Labels, ids: Sequence[int], clicks: Sequence[Pixel], by: str) -> float:
    """Split what was made of some truths by one click in each; return the IoU of the worst part."""
    labels = divided(image, np.isin(truth, ids).astype(np.int64), clicks, by)
    return min(
        float(np.count_nonzero((labels == n) & (truth == i)) / np.count_nonzero((labels == n) | (truth == i)))
        for n, i in enumerate(ids, 1)
    )


def groups(split: str, every: int, most: int | None) -> Iterator[tuple[fs.Image, Labels, tuple[int, ...]]]:
    """Yield each pair and triple with its image and truth."""
    for n, (_, _, image, truth) in enumerate(images(split)):
        if n % every or (most is not None and n // every >= most):
            continue
        seen = fs.Image(image)
        pairs = touching(truth)
        for ids in (*pairs, *triples(pairs)):
            yield seen, truth, ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="rows of training/split.csv")
    parser.add_argument("--every", type=int, default=1, help="use every Nth image")
    parser.add_argument("--images", type=int, help="use the first N images only")
    options = parser.parse_args()
    figures: dict[tuple[int, str, str], list[float]] = {}
    rng = np.random.default_rng(0)
    for image, truth, ids in groups(options.split, options.every, options.images):
        for way in WAYS:
            clicks = [click(truth == i, way, rng) for i in ids]
            for by in BY:
                figures.setdefault((len(ids), way, by), []).append(worst(image, truth, ids, clicks, by))
    print(f"{'':26}{'objects':>8}{'worst IoU':>11}{'below 0.7':>11}")
    for (count, way, by), values in sorted(figures.items(), key=lambda item: (item[0][0], BY.index(item[0][2]))):
        name = f"{count} clicks, {way}, {by}"
        print(f"{name:28}{len(values):6}{np.mean(values):11.3f}{np.mean(np.array(values) < 0.7):11.1%}")


if __name__ == "__main__":
    main()

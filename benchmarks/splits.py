"""*Split* on objects of the held-out images that touch, by clicks as users make them.

Two truths of 30 pixels or more that touch, or three in a row, are taken as one object, and one click is made in each:
at its deepest point, at random in its middle half, at random anywhere 2 pixels inside. The figures are the mean IoU of
the worst part and the share of it below 0.7; without an image, and with it.

    python benchmarks/splits.py [--every N] [--images N]
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from _held_out import images
from napari_foundseg.core.editing import edits

WAYS = ("deepest", "middle half", "anywhere")
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


def worst(
    image: NDArray[Any], truth: Labels, ids: Sequence[int], way: str, rng: np.random.Generator, seen: bool = True
) -> float:
    """Split what was made of some truths by one click in each; return the IoU of the worst part."""
    labels = np.isin(truth, ids).astype(np.int64)
    clicks = [click(truth == i, way, rng) for i in ids]
    grey = image.astype(float) if image.ndim == 2 else image[..., :3].mean(-1)
    # Earlier versions look at the outline alone.
    looks = "picture" in inspect.signature(edits.split).parameters
    picture: dict[str, Callable[[Any], Any]] = {"picture": lambda box: grey[box]} if seen and looks else {}
    for box, values in edits.split(labels, 1, clicks, [1.0, 1.0], 2, **picture):
        labels[box] = values
    return min(
        float(np.count_nonzero((labels == n) & (truth == i)) / np.count_nonzero((labels == n) | (truth == i)))
        for n, i in enumerate(ids, 1)
    )


def cropped(image: NDArray[Any], truth: Labels, ids: Sequence[int]) -> tuple[NDArray[Any], Labels]:
    """Return the surroundings of some objects, so that little is computed."""
    rows, columns = np.nonzero(np.isin(truth, ids))
    box = slice(max(0, rows.min() - 3), rows.max() + 4), slice(max(0, columns.min() - 3), columns.max() + 4)
    return image[box], truth[box]


def groups(every: int, most: int | None) -> Iterator[tuple[NDArray[Any], Labels, tuple[int, ...]]]:
    """Yield the surroundings of each pair and triple."""
    for n, (_, _, image, truth) in enumerate(images()):
        if n % every or (most is not None and n // every >= most):
            continue
        pairs = touching(truth)
        for ids in (*pairs, *triples(pairs)):
            yield *cropped(image, truth, ids), ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="use every Nth image")
    parser.add_argument("--images", type=int, help="use the first N images only")
    options = parser.parse_args()
    figures: dict[tuple[int, str, bool], list[float]] = {}
    rng = np.random.default_rng(0)
    for image, truth, ids in groups(options.every, options.images):
        for way in WAYS:
            for seen in (False, True):
                figures.setdefault((len(ids), way, seen), []).append(worst(image, truth, ids, way, rng, seen))
    print(f"{'':26}{'objects':>8}{'worst IoU':>11}{'below 0.7':>11}")
    for (count, way, seen), values in sorted(figures.items(), key=lambda item: (item[0][0], item[0][2])):
        name = f"{count} clicks, {way}" + (", image" if seen else "")
        print(f"{name:28}{len(values):6}{np.mean(values):11.3f}{np.mean(np.array(values) < 0.7):11.1%}")


if __name__ == "__main__":
    main()

"""Clicks on objects of every size: drawn discs, cells with a nucleus, and nuclei of the held-out images, enlarged.

One click at the deepest point, one anywhere inside (at least 2 pixels from the outline), a second one anywhere inside,
and the box around the object. Printed are the mean IoU, the share of objects at 0.9 or better, and the IoU of the mask
after the second click with the one before it: no mask may jump.

    python benchmarks/click_sizes.py [--split val] [--every N] [--sides 512 1024] [--seed 1]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Resampling, fromarray
from scipy import ndimage

import napari_foundseg as fs
from _held_out import images
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask, iou

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from scenes.plain import smooth_field

SIZES = (20, 40, 80, 140, 200, 300, 400, 450)
LOOKS = ("even", "textured", "noisy", "noisy ground", "dark", "blurred", "nucleus")
FACTORS = (1, 2, 4, 6, 10)
#: Objects of each picture.
MOST = 3
Pixels = NDArray[np.bool_]
Object = tuple[str, NDArray[np.uint8], Pixels, Pixels]


def disc(side: int, size: int, look: str, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Pixels]:
    """Draw a disc of `size` pixels somewhere in the middle of a picture."""
    slack = max(0.0, min((side - size) / 2 - 2, side * 0.2))
    y0, x0 = rng.uniform(-slack, slack, 2) + (side - 1) / 2
    y, x = np.mgrid[:side, :side]
    inside = np.hypot(y - y0, x - x0) < size / 2
    low, high = rng.uniform(5, 60), rng.uniform(120, 230)
    if look == "dark":
        low, high = high, low
    soft = inside.astype(np.float32)
    if look == "blurred":
        soft = ndimage.gaussian_filter(soft, max(1, size / 20))
    if look == "nucleus":
        depth = ndimage.distance_transform_edt(inside)
        dome = ((1 - 0.6 * np.exp(-depth / (size * 0.12))) * inside).astype(np.float32)
        soft = ndimage.gaussian_filter(dome, max(0.7, size / 60))
    shown = low + (high - low) * soft
    if look in ("textured", "nucleus"):
        grain = max(2.5, size * rng.uniform(0.05, 0.25))
        shown = shown + soft * (high - low) * rng.uniform(0.08, 0.22) * smooth_field(rng, (side, side), grain)
    if look == "noisy":
        shown = shown + rng.normal(0, rng.uniform(5, 15), shown.shape)
    if look == "noisy ground":
        shown = shown + ~inside * (8 * smooth_field(rng, (side, side), 12) + rng.normal(0, 6, shown.shape))
    return np.clip(shown, 0, 255).astype(np.uint8), inside


def discs(sides: list[int], seed: int) -> Iterator[Object]:
    """Yield discs of every size and look: their name, picture, truth, and where a click means them."""
    for side in sides:
        for size in SIZES:
            for n, look in enumerate(LOOKS):
                if size < side:
                    shown, inside = disc(side, size, look, np.random.default_rng([seed, side, size, n]))
                    yield f"disc {size:3}", shown, inside, inside


def cells(count: int, seed: int) -> Iterator[Object]:
    """Yield a bright nucleus in a dim cell, the cell, and a small object beside it."""
    for n in range(count):
        rng = np.random.default_rng([seed, n, 9])
        side = int(rng.choice([512, 1024]))
        size, share = rng.uniform(0.25, 0.8) * side, rng.uniform(1 / 8, 1 / 2)
        middle = (side - 1) / 2
        y, x = np.mgrid[:side, :side] - middle
        off = rng.uniform(-0.25, 0.25, 2) * size * (1 - share)
        cell = np.hypot(y, x) < size / 2
        nucleus = np.hypot(y - off[0], x - off[1]) < share * size / 2
        low, mid, high = rng.uniform(5, 40), rng.uniform(70, 110), rng.uniform(150, 240)
        shown = np.where(nucleus, high, np.where(cell, mid, low)).astype(np.float32)
        shown += rng.uniform(0, 12) * smooth_field(rng, (side, side), rng.uniform(3, 30)) * cell
        shown = ndimage.gaussian_filter(shown, rng.uniform(0.3, 3))
        if rng.random() < 0.3:
            shown = 255 - shown
        picture = np.clip(shown, 0, 255).astype(np.uint8)
        yield "nucleus in a cell", picture, nucleus, nucleus
        yield "cell around a nucleus", picture, cell, cell & ~nucleus
        radius, turn = max(5, share * size / 4), rng.uniform(0, 2 * np.pi)
        at = (size / 2 + 2.5 * radius) * np.array([np.sin(turn), np.cos(turn)])
        if np.abs(at).max() + radius < middle:
            small = np.hypot(y - at[0], x - at[1]) < radius
            yield "small beside large", np.where(small, np.uint8(mid), picture), small, small


def enlarged(split: str, every: int) -> Iterator[Object]:
    """Yield nuclei of a part of the split, of crops that are enlarged to about 1000 pixels."""
    for n, (_, kind, picture, truth) in enumerate(images(split)):
        if n % every:
            continue
        for factor in FACTORS:
            rng = np.random.default_rng([n, factor])
            shown, labels = picture, truth
            if factor > 1:
                side = min(1024 // factor, 256)
                y, x = (int(rng.integers(0, max(1, size - side + 1))) for size in truth.shape)
                shown, labels = picture[y : y + side, x : x + side], truth[y : y + side, x : x + side]
                size = (labels.shape[1] * factor, labels.shape[0] * factor)
                shown = np.asarray(fromarray(shown).resize(size, Resampling.BICUBIC))
                labels = np.asarray(fromarray(labels.astype(np.int32)).resize(size, Resampling.NEAREST))
            ids = [i for i in np.unique(labels) if i and (labels == i).sum() >= 30 * factor**2]
            for i in rng.permutation(ids)[:MOST]:
                yield f"{kind} x {factor:2}", shown, labels == i, labels == i


def deepest(inside: Pixels) -> tuple[int, int]:
    """Return the pixel farthest from the outline."""
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(y), int(x)


def anywhere(inside: Pixels, rng: np.random.Generator) -> tuple[int, int]:
    """Return a pixel at least 2 from the outline."""
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    places = np.argwhere(depth >= min(2.5, depth.max()))
    y, x = places[rng.integers(len(places))]
    return int(y), int(x)


def best(image: Image, prompt: fs.Prompt) -> Mask:
    """Return the mask that is shown first."""
    return (fs.prompt(image, prompt).masks or ())[0]


def measured(picture: NDArray[np.uint8], inside: Pixels, where: Pixels, rng: np.random.Generator) -> list[float]:
    """Return the IoU by the deepest click, one anywhere, two anywhere, box, and of the two masks anywhere."""
    image = Image(picture)
    truth = Mask.from_array(inside)
    first, second = anywhere(where, rng), anywhere(where, rng)
    middle = best(image, fs.Prompt(points=[deepest(where)]))
    one = best(image, fs.Prompt(points=[first]))
    two = best(image, fs.Prompt(points=[first, second]))
    box = best(image, fs.Prompt(box=truth.box))
    return [iou(mask, truth) for mask in (middle, one, two, box)] + [iou(one, two)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="val")
    parser.add_argument("--every", type=int, default=1, help="use every Nth image")
    parser.add_argument("--sides", type=int, nargs="*", default=[512, 1024])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cells", type=int, default=40)
    options = parser.parse_args()
    figures: dict[str, list[list[float]]] = defaultdict(list)
    started = time.perf_counter()
    parts = (discs(options.sides, options.seed), cells(options.cells, options.seed),
             enlarged(options.split, options.every) if options.every else ())  # fmt: skip
    for part in parts:
        for n, (name, picture, inside, where) in enumerate(part):
            figures[name].append(measured(picture, inside, where, np.random.default_rng([options.seed, n])))
    print(f"{'':26}{'n':>4}  deepest      anywhere     2 clicks     box          1 and 2 agree")
    for name, rows in figures.items():
        values = np.array(rows)
        columns = [f"{v.mean():.3f} {100 * (v >= 0.9).mean():3.0f} %" for v in values.T]
        print(f"{name:26}{len(rows):4}  " + "  ".join(columns))
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

"""What `find_colour` says of real pictures and of drawn conversions of them, and what the masks gain.

Real: every image of a part of the split (grey fluorescence, brightfield, stained histology), its inversion and a JPEG
of it, and photographs of scikit-image and scikit-learn. Drawn: grey fluorescence in a colour, plain and with what
happens to exports (noise, JPEG, gamma, offset, overexposure, scale bar), and merges of two and three dyes, of nuclei
with nuclei and of nuclei with diffuse cytoplasm, with crosstalk. *Right* is the share with the right kind and, of one
colour and of nuclei with cytoplasm, with a channel that shows the nuclei alone.

    python benchmarks/colour.py [--split test] [--every N] [--masks N]

`--masks`: mSA of default masks on N crops of 256 by 320 of the part, seen as RGB (before) and automatically (after).
"""

from __future__ import annotations

import argparse
import io
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import PIL.Image
import skimage.data
from numpy.typing import NDArray
from scipy import ndimage

import napari_foundseg as fs
from _held_out import images
from napari_foundseg.core.measuring.comparison import match_objects
from napari_foundseg.core.pixels.colour import FoundColour, find_colour

Pixels = NDArray[Any]
PRIMARY = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
MIXED = {"magenta": (1, 0, 1), "cyan": (0, 1, 1), "yellow": (1, 1, 0), "orange": (1, 0.65, 0), "azure": (0, 0.5, 1)}
COLOURS = {**PRIMARY, **MIXED, "pale blue": (0.4, 0.6, 1)}
PAIRS = (
    ("blue", "green"),
    ("blue", "red"),
    ("green", "red"),
    ("green", "magenta"),
    ("cyan", "magenta"),
    ("cyan", "red"),
    ("yellow", "blue"),
)
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "immunohistochemistry", "retina", "rocket")
#: What a picture is, whether the answer is right, and the answer.
Told = tuple[str, bool, FoundColour]


def in_colour(grey: Pixels, colour: tuple[float, float, float]) -> NDArray[np.uint8]:
    return (grey[..., None] * np.array(colour)).round().clip(0, 255).astype(np.uint8)


def as_jpeg(picture: Pixels, quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(picture)).save(file, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(file))


def with_bar(picture: Pixels, colour: int | tuple[int, int, int] = 255) -> Pixels:
    """Burn in a scale bar with something like a text above it."""
    picture = picture.copy()
    height, width = picture.shape[:2]
    picture[height - 12 : height - 8, width // 2 : width - 8] = colour
    picture[height - 24 : height - 15, width - 60 : width - 8 : 2] = colour
    return picture


def noisy(picture: Pixels) -> Pixels:
    return (picture + np.random.default_rng(0).normal(0, 20, picture.shape)).clip(0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "plain": lambda picture: picture,
    "JPEG 60": lambda picture: as_jpeg(picture, 60),
    "JPEG 95": lambda picture: as_jpeg(picture, 95),
    "noise of sd 20": noisy,
    "gamma 0.5": lambda picture: (255 * (picture / 255) ** 0.5).astype(np.uint8),
    "offset of 20": lambda picture: (picture * 0.9 + 20).clip(0, 255).astype(np.uint8),
    "twice too bright": lambda picture: (picture.astype(int) * 2).clip(0, 255).astype(np.uint8),
    "white scale bar": with_bar,
    "white scale bar, JPEG 75": lambda picture: as_jpeg(with_bar(picture), 75),
}


def real(split: str, every: int) -> Iterator[Told]:
    """Tell what is said of real pictures."""
    for _, kind, pixels, _ in list(images(split))[::every]:
        picture = np.repeat(pixels[..., None], 3, -1) if pixels.ndim == 2 else pixels[..., :3]
        wanted = "grey" if (np.ptp(picture, axis=-1) == 0).all() else "colour"
        for how, shown in (("", picture), (" inverted", 255 - picture), (" JPEG 75", as_jpeg(picture, 75))):
            found = find_colour([shown])
            yield f"{kind}{how}", found.kind == wanted, found


def photographs() -> Iterator[Told]:
    """Tell what is said of photographs."""
    import sklearn.datasets

    pictures = {name: getattr(skimage.data, name)() for name in PHOTOGRAPHS}
    pictures |= {name: sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")}
    for picture in pictures.values():
        for shown in (picture, picture // 2, as_jpeg(picture[..., :3], 60)):
            found = find_colour([shown])
            yield "photographs", found.kind == "colour", found


def drawn(stretched: list[Pixels], rng: np.random.Generator) -> Iterator[Told]:
    """Tell what is said of drawn conversions."""
    for grey in stretched:
        for colour in COLOURS.values():
            for change, function in CHANGES.items():
                found = find_colour([function(in_colour(grey, colour))])
                own = found.kind == "one colour" and colour[found.channels[0]] == 1
                yield f"one colour, {change}", own, found
        found = find_colour([as_jpeg(with_bar(in_colour(grey, (1, 1, 1)), (255, 0, 0)), 90)])
        yield "grey, red scale bar", found.kind == "grey", found
    for n, grey in enumerate(stretched):
        other = stretched[(n + 1) % len(stretched)]
        height, width = np.minimum(grey.shape, other.shape)
        nuclei, others = grey[:height, :width], other[:height, :width]
        spread = ndimage.gaussian_filter(nuclei, 12)
        spread *= 150 / max(1, spread.max())
        for pair in PAIRS:
            one, two = (COLOURS[name] for name in pair)
            merged = find_colour([in_colour(nuclei, one) | in_colour(others, two)])
            yield "two dyes of nuclei", merged.kind == "dyes", merged
            for nucleus, cell in ((one, two), (two, one)):
                alone = {c for c in range(3) if nucleus[c] == 1 and cell[c] == 0}
                for leak, words in ((0.0, ""), (0.15, ", crosstalk and noise")):
                    mixed = nuclei[..., None] * (np.array(nucleus) + leak * np.array(cell))
                    mixed = mixed + spread[..., None] * np.array(cell)
                    mixed += rng.normal(0, 5, mixed.shape) if leak else 0
                    found = find_colour([mixed.clip(0, 255).astype(np.uint8)])
                    right = found.kind == "dyes" and found.channels[0] in alone
                    yield f"nuclei and cytoplasm{words}", right, found
        three = find_colour([np.stack([np.roll(others, 90, 1), others, nuclei], -1).astype(np.uint8)])
        yield "three dyes", three.kind == "dyes", three


def stretched_fluorescence(split: str, every: int) -> list[Pixels]:
    """Return grey fluorescence images that use all of the 8 bits."""
    greys = [
        p[..., :3].mean(-1) if p.ndim == 3 else p.astype(float)
        for _, kind, p, _ in images(split)
        if kind == "fluorescence"
    ]
    return [np.clip(grey * (255 / max(1.0, float(np.percentile(grey, 99.8)))), 0, 255) for grey in greys[::every]]


def show_answers(split: str, every: int) -> None:
    """Print how many pictures of each kind are called what."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    some = stretched_fluorescence(split, 8 * every)
    for told in (real(split, every), photographs(), drawn(some, np.random.default_rng(0))):
        for name, right, found in told:
            counts[name][found.kind] += 1
            counts[name]["right"] += right
    kinds = ("grey", "one colour", "dyes", "colour")
    print(f"{split:44}{'n':>6}{'right':>8}" + "".join(f"{kind:>12}" for kind in kinds))
    for name, count in counts.items():
        total = sum(count[kind] for kind in kinds)
        print(f"{name:44}{total:6}{count['right'] / total:8.3f}" + "".join(f"{count[kind]:12}" for kind in kinds))


def merged_with_green(grey: Pixels) -> Pixels:
    diffuse = ndimage.gaussian_filter(grey, 15)
    return np.stack([0 * grey, 140 * diffuse / max(1.0, float(diffuse.max())), grey], -1).clip(0, 255).astype(np.uint8)


def show_masks(split: str, count: int) -> None:
    """Print mSA of default masks before and after."""
    rows = [row for row in images(split) if row[1] == "fluorescence"]
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for i in np.linspace(0, len(rows) - 1, count).round().astype(int):
        _, _, pixels, truth = rows[i]
        grey = pixels[..., :3].mean(-1) if pixels.ndim == 3 else pixels.astype(float)
        y, x = (max(0, (n - side) // 2) for n, side in zip(truth.shape, (256, 320), strict=True))
        grey, labels = grey[y : y + 256, x : x + 320], truth[y : y + 256, x : x + 320]
        pictures = {"as they are": grey.astype(np.uint8)}
        pictures |= {f"{name} only": in_colour(grey, COLOURS[name]) for name in (*PRIMARY, "magenta", "orange")}
        blue = in_colour(grey, COLOURS["blue"])
        pictures |= {f"blue only, {change}": CHANGES[change](blue) for change in ("JPEG 95", "white scale bar")}
        stretched = np.clip(grey * (255 / max(1.0, float(np.percentile(grey, 99.8)))), 0, 255)
        pictures["blue nuclei, diffuse green"] = merged_with_green(stretched)
        for name, picture in pictures.items():
            channels = (0, 1, 2) if picture.ndim == 3 else None
            before = fs.automatic(fs.Image(picture, channels=channels)).labels
            after = fs.automatic(picture).labels
            for way, found in (("before", before), ("after", after)):
                figures[name][way].append(float(match_objects(labels, found).precision.mean()))
    print(f"{f'mSA, {split}, {count} crops':44}{'before':>10}{'after':>10}")
    for name, own in figures.items():
        print(f"{name:44}{np.mean(own['before']):10.3f}{np.mean(own['after']):10.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--every", type=int, default=1, help="use every Nth image")
    parser.add_argument("--masks", type=int, default=0, help="crops on which masks are made")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="numpy")
    show_answers(options.split, options.every)
    if options.masks:
        show_masks(options.split, options.masks)


if __name__ == "__main__":
    main()

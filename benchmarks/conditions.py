"""Automatic masks with default settings at other magnifications, in other light and with noise, on held-out images.

Each condition is drawn on the same crops. *Before* is with the settings and the contrast of earlier versions, with the
weights of today; `--now` leaves it out, which takes half the time.

    python benchmarks/conditions.py [--split test] [--kind fluorescence] [--only light|sizes|drawn] [--now]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy import ndimage
from skimage.segmentation import relabel_sequential

import napari_foundseg as fs
from _held_out import read, rows
from napari_foundseg.core.contrast import Percentile
from napari_foundseg.core.measuring.comparison import match_objects

Pixels = NDArray[Any]
_ROWS, _COLUMNS = 256, 320
_FRAME = 12


def crops(split: str, kind: str, count: int) -> Iterator[tuple[Pixels, Pixels]]:
    """Yield the middle of images spread over a part of the split, grey, with its truth."""
    chosen = [row for row in rows(split) if row["kind"] == kind]
    for i in np.unique(np.linspace(0, len(chosen) - 1, count).round().astype(int)):
        image, truth = read(chosen[i])
        grey = image[..., :3].mean(-1) if image.ndim == 3 else image.astype(float)
        y, x = max(0, (truth.shape[0] - _ROWS) // 2), max(0, (truth.shape[1] - _COLUMNS) // 2)
        part = (slice(y, y + _ROWS), slice(x, x + _COLUMNS))
        yield grey[part], relabel_sequential(truth[part])[0]


def square(share: float, times: float) -> Callable[[Pixels], Pixels]:
    """Put an even bright square near a corner, as dust or a dead cell."""

    def draw(grey: Pixels) -> Pixels:
        side = int(np.ceil(np.sqrt(share * grey.size)))
        grey = grey.copy()
        grey[3 : 3 + side, 3 : 3 + side] = times * grey.max()
        return grey

    return draw


def blob(grey: Pixels) -> Pixels:
    """Put a soft bright blob on the picture."""
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    away = ((y - grey.shape[0] / 3) ** 2 + (x - grey.shape[1] / 2) ** 2) / 15**2
    return np.maximum(grey, 6 * grey.max() * np.exp(-(away**2)))


def scale_bar(grey: Pixels) -> Pixels:
    """Burn in a white bar."""
    grey = grey.copy()
    grey[-20:-14, -110:-20] = 255
    return grey


def photons(grey: Pixels) -> Pixels:
    """Count ten photons at the maximum."""
    return np.random.default_rng(0).poisson(10 * grey / max(1e-6, np.percentile(grey, 99.9))).astype(float)


def noise(grey: Pixels) -> Pixels:
    """Add noise of sd 20 to a picture of the full range."""
    return np.clip(grey * 255 / max(1, grey.max()) + np.random.default_rng(0).normal(0, 20, grey.shape), 0, 255)


LIGHT: dict[str, Callable[[Pixels], Pixels]] = {
    "as they are": lambda grey: grey,
    "16 bits": lambda grey: grey * 200,
    "bright square, 1 %, 5 times": square(0.01, 5),
    "bright square, 3 %, 3 times": square(0.03, 3),
    "bright square, 0.4 %, 20 times": square(0.004, 20),
    "bright soft blob, 6 times": blob,
    "scale bar": scale_bar,
    "white frame": lambda grey: np.pad(grey, _FRAME, constant_values=255),
    "black frame": lambda grey: np.pad(grey + 20, _FRAME, constant_values=0),
    "ramp by 3": lambda grey: grey * np.linspace(1, 3, grey.shape[1])[None],
    "gamma 0.5": lambda grey: 255 * (grey / 255) ** 0.5,
    "contrast of 10 %": lambda grey: grey * 10 + 10_000,
    "10 photons": photons,
    "noise of sd 20": noise,
    "blur of 2 px": lambda grey: ndimage.gaussian_filter(grey, 2),
}
SIZES = (1, 0.5, 2, 4, 6, 10)
DISCS = (20, 40, 100, 200, 300, 450)


def resized(grey: Pixels, truth: Pixels, factor: float) -> tuple[Pixels, Pixels]:
    """Enlarge or shrink a picture and its truth."""
    if factor == 1:
        return grey, truth
    size = round(grey.shape[1] * factor), round(grey.shape[0] * factor)
    image = np.asarray(Picture.fromarray(grey.astype(np.float32)).resize(size, Picture.Resampling.BICUBIC))
    labels = np.asarray(Picture.fromarray(truth.astype(np.int32)).resize(size, Picture.Resampling.NEAREST))
    return np.clip(image, 0, None), relabel_sequential(labels.astype(np.int64))[0]


def disc(diameter: int, seed: int, textured: bool) -> tuple[Pixels, Pixels]:
    """Draw a disc, even or textured, on quiet ground."""
    rng = np.random.default_rng([seed, diameter])
    side = max(256, int(1.15 * diameter))
    y, x = np.mgrid[:side, :side]
    away = np.hypot(y - side / 2 + rng.uniform(-3, 3), x - side / 2 + rng.uniform(-3, 3))
    cover = np.clip(diameter / 2 - away + 0.5, 0, 1)
    texture = ndimage.gaussian_filter(rng.normal(size=away.shape), max(1, diameter / 15))
    value = 120 * (1 + 0.15 * texture / texture.std()) if textured else 120.0
    return 15 * (1 - cover) + value * cover + rng.normal(0, 2, away.shape), (away < diameter / 2).astype(np.int64)


def precision(image: Pixels, truth: Pixels, before: bool) -> NDArray[np.float64]:
    """Return mSA and AP50 of automatic masks."""
    pixels = np.clip(image + 0.5, 0, 65535).astype(np.uint16)
    if before:
        found = fs.automatic(fs.Image(pixels, normalisation=Percentile(outliers="kept")), find_diameter="second look")
    else:
        found = fs.automatic(pixels)
    ap = match_objects(truth, found.labels).precision
    return np.array([ap.mean(), ap[0]])


def show(name: str, pairs: list[tuple[Pixels, Pixels]], columns: tuple[bool, ...]) -> None:
    """Print a line of the table; a column says whether it is *before*."""
    figures = [np.mean([precision(*pair, before) for pair in pairs], axis=0) for before in columns]
    print(f"{name:32}" + "".join(f"{mean:9.3f}{at_half:8.3f}" for mean, at_half in figures), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="test")
    parser.add_argument("--kind", default="fluorescence")
    parser.add_argument("--crops", type=int, default=16)
    parser.add_argument("--enlarged", type=int, default=8)
    parser.add_argument("--only", choices=("light", "sizes", "drawn"))
    parser.add_argument("--now", action="store_true", help="leave the column 'before' out")
    options = parser.parse_args()
    columns = (False,) if options.now else (True, False)
    print(f"{'':32}" + "".join(f"{'before' if before else 'now':>9}{'AP50':>8}" for before in columns), flush=True)
    if options.only in (None, "light"):
        chosen = list(crops(options.split, options.kind, options.crops))
        for name, change in LIGHT.items():
            pad = _FRAME if "frame" in name else 0
            show(name, [(change(grey), np.pad(truth, pad)) for grey, truth in chosen], columns)
    if options.only in (None, "sizes"):
        chosen = list(crops(options.split, options.kind, options.enlarged))
        for factor in SIZES:
            show(f"enlarged {factor} times", [resized(grey, truth, factor) for grey, truth in chosen], columns)
    if options.only in (None, "drawn"):
        for diameter in DISCS:
            show(
                f"disc of {diameter} px",
                [disc(diameter, seed, textured) for seed in (0, 1) for textured in (True, False)],
                columns,
            )


if __name__ == "__main__":
    main()

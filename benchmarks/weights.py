"""Weight files of foundseg-tiny side by side: the same objects of the held-out images, the same prompts, every kind.

Of each image the middle 512 by 512 pixels are taken. Automatic masks are judged where all objects are labelled: mSA
(see accuracy.py) and AP50. Prompts are judged by the mean IoU of up to ``--objects`` objects of 30 pixels or more,
evenly chosen, an image:

click, anywhere, rim   one click: at the deepest point, anywhere in the object, 2 pixels from its rim
box, hand              the box, and one whose sides are each off by up to 20 % of its size
2, 3, 4, 5             clicks, each further one at the deepest point of what is still wrong
any 3, any 8           so many clicks anywhere in the object
small                  its mask, 3 pixels too small all around

    python benchmarks/weights.py OLD.safetensors NEW.safetensors [--split test] [--every 1] [--objects 10]
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import relabel_sequential

import napari_foundseg as fs
from _held_out import NUCLEI, ROOT, images
from accuracy import best_masks, prompts
from clicks import CLICKS, corrected, whole
from napari_foundseg.core.masks import Mask, iou
from napari_foundseg.core.measuring.comparison import match_objects
from napari_foundseg.models.families.promptable.tiny import TinyModel
from napari_foundseg.models.nets.tiny.tiny import load_foundseg_tiny

sys.path.insert(0, str(ROOT / "training"))
from split import PARTLY

CROP = 512
TOO_SMALL = 3
COLUMNS = ("mSA", "AP50", "click", "anywhere", "rim", "box", "hand", "2", "3", "4", "5", "any 3", "any 8", "small")
Pixels = NDArray[np.bool_]
Labels = NDArray[np.int64]


def model_of(path: Path) -> TinyModel:
    """Return the model of a weight file, which is taken for the built-in one with its row's settings."""
    return TinyModel(*load_foundseg_tiny(path), "foundseg-tiny", f"foundseg-tiny@{path.resolve()}")


def middle(image: NDArray[np.uint8], truth: Labels) -> tuple[NDArray[np.uint8], Labels]:
    """Return the middle of a large picture: a few images shall not take all the time."""
    y, x = ((n - min(n, CROP)) // 2 for n in truth.shape)
    cut = (slice(y, y + CROP), slice(x, x + CROP))
    return image[cut], relabel_sequential(truth[cut])[0]


def click_on(pixels: Pixels, rng: np.random.Generator, count: int = 1) -> fs.Prompt:
    """Return clicks on some of the pixels."""
    at = rng.choice(np.argwhere(pixels), count)
    return fs.Prompt(points=[tuple(int(v) for v in point) for point in at])


def hand_drawn(prompt: fs.Prompt, shape: tuple[int, ...], rng: np.random.Generator) -> fs.Prompt:
    """Return a box whose sides are off by up to a fifth of its size."""
    assert prompt.box is not None
    box = np.array(prompt.box)
    sides = np.tile(box[2:] - box[:2] + 1, 2)
    limits = np.array([*shape, *shape]) - 1
    return fs.Prompt(box=np.clip(box + rng.uniform(-0.2, 0.2, 4) * sides, 0, limits).tolist())


def given_prompts(truth: Labels, most: int) -> tuple[list[Pixels], dict[str, list[fs.Prompt]]]:
    """Return the objects that are asked for, and for each way of asking a prompt an object."""
    rng = np.random.default_rng(5)
    ids, clicks, boxes = prompts(truth)
    chosen = np.unique(np.linspace(0, len(ids) - 1, min(most, len(ids))).astype(int)) if ids else []
    targets = [truth == ids[i] for i in chosen]
    given: dict[str, list[fs.Prompt]] = defaultdict(list)
    for i, target in zip(chosen, targets, strict=True):
        depth = ndimage.distance_transform_edt(np.pad(target, 1))[1:-1, 1:-1]
        rim = (depth > 1.5) & (depth <= 2.5)
        smaller = depth > TOO_SMALL
        given["click"].append(clicks[i])
        given["anywhere"].append(click_on(target, rng))
        given["rim"].append(click_on(rim if rim.any() else target, rng))
        given["box"].append(boxes[i])
        given["hand"].append(hand_drawn(boxes[i], truth.shape, rng))
        given["any 3"].append(click_on(target, rng, 3))
        given["any 8"].append(click_on(target, rng, 8))
        given["small"].append(fs.Prompt(mask=smaller if smaller.any() else target))
    return targets, given


def prompted(image: NDArray[np.uint8], truth: Labels, model: TinyModel, most: int) -> dict[str, list[float]]:
    """Return the IoU of each object for each way of asking."""
    targets, given = given_prompts(truth, most)
    own = [Mask.from_array(target) for target in targets]
    found: dict[str, list[float]] = {}
    for name, asked in given.items():
        masks = best_masks(image, asked, model)
        found[name] = [iou(m, t) for m, t in zip(masks, own, strict=True)]
        for k in range(2, CLICKS + 1) if name == "click" else ():
            parts = zip(asked, masks, targets, strict=True)
            asked = [corrected(p, whole(m, truth.shape), t) for p, m, t in parts]
            masks = best_masks(image, asked, model)
            found[str(k)] = [iou(m, t) for m, t in zip(masks, own, strict=True)]
    return found


def pictures(split: str, every: int) -> Iterator[tuple[str, NDArray[np.uint8], Labels]]:
    """Yield kind, picture and truth of every Nth image of each kind."""
    seen: dict[str, int] = defaultdict(int)
    for part in (images(split), images(split, others=True)):
        for _, kind, image, truth in part:
            seen[kind] += 1
            # Of kinds with few images all are taken.
            if kind in ("fluorescence", "histology", "ultrasound") and (seen[kind] - 1) % every:
                continue
            yield kind, *middle(image, truth)


def summarise(figures: dict[tuple[str, str], list[float]], kinds: list[str], name: str) -> float:
    """Return the mean over objects of one kind, or over the kinds of several."""
    means = [np.mean(figures[kind, name]) for kind in kinds if figures.get((kind, name))]
    return float(np.mean(means)) if means else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--split", default="test")
    parser.add_argument("--every", type=int, default=1, help="of the kinds with 30 images or more use every Nth")
    parser.add_argument("--objects", type=int, default=10)
    options = parser.parse_args()
    models: list[Any] = [model_of(path) for path in options.weights]
    figures: list[dict[tuple[str, str], list[float]]] = [defaultdict(list) for _ in models]
    for kind, image, truth in pictures(options.split, options.every):
        for model, own in zip(models, figures, strict=True):
            row = prompted(image, truth, model, options.objects)
            if kind not in PARTLY:
                ap = match_objects(truth, fs.automatic(image, model=model).labels).precision
                row |= {"mSA": [ap.mean()], "AP50": [ap[0]]}
            for name, values in row.items():
                own[kind, name] += values
    kinds = list(dict.fromkeys(kind for kind, _ in figures[0]))
    groups = {kind: [kind] for kind in kinds}
    groups |= {"all nuclei": [k for k in kinds if k in NUCLEI], "all others": [k for k in kinds if k not in NUCLEI]}
    print(f"{'':16}{'':22}" + "".join(f"{name:>9}" for name in COLUMNS))
    for title, members in groups.items():
        for path, own in zip(options.weights, figures, strict=True):
            mean = partial(summarise, own, members)
            print(f"{title:16}{path.stem[-20:]:22}" + "".join(f"{mean(name):9.3f}" for name in COLUMNS), flush=True)


if __name__ == "__main__":
    main()

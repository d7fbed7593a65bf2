"""How many objects are found from a few examples, and how many are invented.

Of each image with 15 objects or more, examples are drawn by a fixed seed and given as masks; AP50 (found over found,
missed and invented) is of the others. ``--boxes`` gives them as boxes, 0 to 20 % too large or too small at each side.

    python benchmarks/similar.py [--split test] [--every 1] [--examples 5]
    python benchmarks/similar.py --general
    python benchmarks/similar.py --coins
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.io import imread
from skimage.segmentation import relabel_sequential

import napari_foundseg as fs
from _held_out import ROOT, images
from napari_foundseg.core.measuring.comparison import match_objects

Labels = NDArray[np.int64]
FEWEST = 15
#: Kinds of ``general`` whose objects are labelled in full.
KINDS = ("ampis_powder_sem", "axondeepseg_axon_sem", "nasa_superalloy_sem", "usiigaci_phase_contrast")


def general(every: int) -> Iterator[tuple[str, NDArray[np.uint8], Labels]]:
    """Yield kind, image and truth of crops of 512 pixels."""
    folder = Path(os.environ.get("FOUNDSEG_DATA", ROOT / "../shared/data")).resolve() / "general"
    for kind in KINDS:
        for path in sorted((folder / kind / "images").glob("*.png"))[::every]:
            truth = imread(folder / kind / "labels" / path.name)[:512, :512]
            yield kind, imread(path)[:512, :512], relabel_sequential(truth.astype(np.int64))[0]


def examples(truth: Labels, count: int, *, boxes: bool, seed: int) -> tuple[list[int], list[fs.Prompt]]:
    """Draw objects of 30 pixels or more, and return them as prompts."""
    rng = np.random.default_rng(seed)
    ids = np.flatnonzero(np.bincount(truth.ravel())[1:] >= 30) + 1
    drawn = sorted(rng.choice(ids, min(count, len(ids)), replace=False).tolist())
    return drawn, [prompt_of(truth == label, rng if boxes else None) for label in drawn]


def prompt_of(mask: NDArray[np.bool_], rng: np.random.Generator | None) -> fs.Prompt:
    """Return a mask as a prompt, or its box as a user draws it."""
    if rng is None:
        return fs.Prompt(mask=mask)
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    ends = np.array([rows[0], columns[0], rows[-1], columns[-1]], float)
    sides = np.array([len(rows), len(columns)] * 2)
    ends += sides * rng.uniform(-0.2, 0.2, 4)
    return fs.Prompt(box=np.clip(ends, 0, np.array([*mask.shape] * 2) - 1).tolist())


def score(truth: Labels, found: NDArray[np.unsignedinteger], without: list[int]) -> float:
    """Return AP50 of the objects that were no examples."""
    rest = np.where(np.isin(truth, without), 0, truth)
    left = found.astype(np.int64)
    for label in without:
        inside = truth == label
        for other in np.unique(left[inside & (left > 0)]).tolist():
            if 2 * np.count_nonzero(inside & (left == other)) > np.count_nonzero(left == other):
                left[left == other] = 0
    return float(match_objects(relabel_sequential(rest)[0], relabel_sequential(left)[0]).precision[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="test")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--examples", type=int, default=5)
    parser.add_argument("--boxes", action="store_true")
    parser.add_argument("--general", action="store_true")
    parser.add_argument("--coins", action="store_true")
    chosen = parser.parse_args()
    if chosen.coins:
        show_coins()
        return
    if chosen.general:
        sources = list(general(chosen.every))
    else:
        pairs = images(chosen.split)
        sources = [(kind, image[..., :3] if image.ndim == 3 else image, truth) for _, kind, image, truth in pairs]
        sources = sources[:: chosen.every]
    scores = defaultdict(list)
    for kind, image, truth in sources:
        if len(np.unique(truth)) <= FEWEST:
            continue
        drawn, prompts = examples(truth, chosen.examples, boxes=chosen.boxes, seed=0)
        found = fs.find_similar(image, prompts)
        scores[kind].append([score(truth, labels, drawn) for labels in (fs.automatic(image).labels, found.labels)])
    print(f"{'kind':28}images  automatic  similar")
    for kind, values in scores.items():
        automatic, similar = np.mean(values, axis=0)
        print(f"{kind:28}{len(values):6}{automatic:11.3f}{similar:9.3f}")


def show_coins() -> None:
    """Print how many of scikit-image's 24 coins are found from each of them, and how many others."""
    from coins import coins

    image, truth = coins()
    for label in range(1, int(truth.max()) + 1):
        found = fs.find_similar(image, fs.Prompt(mask=truth == label))
        matched = match_objects(truth, found.labels.astype(np.int64))
        right = int((matched.best >= 0.5).sum())
        print(f"coin {label}: {right} found, {len(found) - right} others", flush=True)


if __name__ == "__main__":
    main()

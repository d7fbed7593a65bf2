"""How many actions it takes to correct automatic masks of the held-out images, by the tools of *Correct* and *Prompt*.

A simulated annotator takes the masks of foundseg-tiny to an IoU of 0.8 for every object of 30 pixels or more. An action
is a click, a stroke or a key. Clicks are where users make them: anywhere 2 pixels inside what is meant, at random (with
a seed), or in its middle half; what is thinner is clicked where it is deepest. The annotator

- deletes what lies on no object,
- splits what holds several objects, with one click in each,
- merges what lies in one object,
- clicks where an object is missing, and then in what is still wrong,
- outlines again what is still below 0.8, by clicks anywhere in the largest part that is wrong,

and gives an object up after six clicks. A mask that is good while it is outlined under the pointer is accepted by the
key, without a click. Everything is done by the functions that the forms call, with the model that they use.

    python benchmarks/corrections.py [--every N] [--images N] [--way anywhere] [--cache FOLDER]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import napari_foundseg as fs
from _held_out import images
from napari_foundseg.core.editing import edits
from napari_foundseg.core.labels import add_mask
from napari_foundseg.core.masks import Mask
from napari_foundseg.widgets.editing import mask_writing
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from splits import SMALLEST, WAYS, Pixel, click

GOOD = 0.8
MOST_CLICKS = 6
Labels = NDArray[np.int64]
Bool = NDArray[np.bool_]

#: What this version of the package offers.
MOVED = importlib.util.find_spec("napari_foundseg.core.editing.split_edits") is not None
split = importlib.import_module(f"napari_foundseg.core.editing.{'split_edits' if MOVED else 'edits'}").split
SEES = hasattr(fs, "split")
LOOKS = "picture" in inspect.signature(split).parameters
NEAREST = getattr(mask_writing, "object_at", None)
TAKES = hasattr(mask_writing, "clicked_others")
TAKES_NEW = "taken" in inspect.signature(mask_writing.add_objects).parameters
HOVERS = hasattr(PromptWidget, "accept_shown")
POINTED = importlib.util.find_spec("napari_foundseg.widgets.objects.pointed_object") is not None


@dataclass
class Annotator:
    """Corrects one image and counts what it takes."""

    image: NDArray[np.uint8]
    truth: Labels
    labels: Labels
    way: str
    rng: np.random.Generator
    actions: Counter[str] = field(default_factory=Counter)
    uses: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        sizes = np.bincount(self.truth.ravel())
        self.wanted = [i for i in range(1, len(sizes)) if sizes[i] >= SMALLEST]
        self.sizes = sizes
        self.seen = fs.Image(self.image)
        self.grey = self.image.astype(float) if self.image.ndim == 2 else self.image[..., :3].mean(-1)

    def count(self, tool: str, actions: int) -> None:
        """Count the use of a tool."""
        self.actions[tool] += actions
        self.uses[tool] += 1

    def work(self) -> list[float]:
        """Correct everything; return the IoU of each wanted object."""
        self.delete()
        self.split()
        self.merge()
        for i in self.wanted:
            label = self.partner(i)
            if not label:
                self.add(i)
            elif self.iou(i, self.labels == label) < GOOD:
                self.refine(i, label)
        return [self.iou(i, self.labels == label) if (label := self.partner(i)) else 0.0 for i in self.wanted]

    # What is where.

    def table(self) -> NDArray[np.int64]:
        """Return the pixels that each truth shares with each object, (truths, objects)."""
        count = int(self.labels.max()) + 1
        key = self.truth.ravel() * count + self.labels.ravel()
        return np.bincount(key, minlength=len(self.sizes) * count).reshape(len(self.sizes), count)

    def iou(self, i: int, mask: Bool) -> float:
        """Return the IoU of a mask with a truth."""
        true = self.truth == i
        return float(np.count_nonzero(mask & true) / np.count_nonzero(mask | true))

    def partner(self, i: int) -> int:
        """Return the object that belongs to a truth: most of each lies in the other, or nearly; 0 if there is none."""
        shared = self.table()
        found = shared[i, 1:]
        if not found.any():
            return 0
        sizes = shared.sum(0)[1:]
        ious = found / (sizes + self.sizes[i] - found)
        best = int(ious.argmax())
        # An object that is another truth's is none of this one's.
        own = int(shared[1:, best + 1].argmax()) + 1 == i
        return best + 1 if own and ious[best] >= 0.1 else 0

    # Tools.

    def write(self, pieces: edits.Pieces) -> None:
        """Write an edit."""
        for box, values in pieces:
            self.labels[box] = values

    def delete(self) -> None:
        """Delete what lies on no object: all of them are chosen, then the key."""
        shared = self.table()
        sizes = shared.sum(0)
        ious = shared[1:] / np.maximum(sizes[None] + self.sizes[1:, None] - shared[1:], 1)
        gone = [p for p in range(1, shared.shape[1]) if sizes[p] and (len(ious) == 0 or ious[:, p].max() < 0.1)]
        gone = [p for p in gone if not (shared[1:, p] > 0.5 * self.sizes[1:]).any()]
        if gone:
            self.write(edits.delete(self.labels, gone))
            self.count("delete", len(gone) + (not POINTED))

    def split(self) -> None:
        """Split what holds several objects until each holds one."""
        tried: set[tuple[int, ...]] = set()
        while True:
            shared = self.table()
            held = {
                p: [i for i in self.wanted if shared[i, p] > 0.5 * self.sizes[i]] for p in range(1, shared.shape[1])
            }
            several = [(p, ids) for p, ids in held.items() if len(ids) > 1 and tuple(ids) not in tried]
            if not several:
                return
            p, ids = several[0]
            tried.add(tuple(ids))
            if not LOOKS:
                ids = ids[:2]
            clicks = [click((self.truth == i) & (self.labels == p), self.way, self.rng) for i in ids]
            if SEES:
                self.labels = fs.split(self.seen, self.labels, p, clicks).labels.astype(np.int64)
            else:
                more: dict[str, Any] = {"picture": lambda box: self.grey[box]} if LOOKS else {}
                self.write(split(self.labels, p, clicks, [1.0, 1.0], int(self.labels.max()) + 1, **more))
            self.count("split", len(clicks) + 1 + (not POINTED))

    def merge(self) -> None:
        """Merge what lies in one object."""
        shared = self.table()
        sizes = shared.sum(0)
        for i in self.wanted:
            parts = [p for p in range(1, shared.shape[1]) if sizes[p] and shared[i, p] > 0.6 * sizes[p]]
            best = max((shared[i, p] / (sizes[p] + self.sizes[i] - shared[i, p]) for p in parts), default=1)
            if len(parts) > 1 and best < GOOD:
                self.write(edits.merge(self.labels, parts))
                self.count("merge", len(parts) + (not POINTED))

    def add(self, i: int) -> None:
        """Prompt for a missing object and accept the mask."""
        points, signs = [click(self.truth == i, self.way, self.rng)], [1]
        self.prompt("add", i, points, signs, None)

    def refine(self, i: int, label: int) -> None:
        """Outline an object again, in *Prompt*, by clicks in what is wrong.

        The first click chooses the object; earlier versions want it on the object, now it may be beside it.
        """
        own = self.labels == label
        at = self.wrong(i, own)
        if NEAREST is not None and NEAREST(self.labels, at) == label:
            self.prompt("refine", i, [at], [int(self.truth[at] == i)], label)
        else:
            self.prompt("refine", i, [click((self.truth == i) & own, self.way, self.rng)], [1], label)

    def prompt(self, tool: str, i: int, points: list[Pixel], signs: list[int], label: int | None) -> None:
        """Click until the mask is good, accept the last if it is better than what was there."""
        given = None if label is None else self.labels == label
        actions = 0
        accepted = self.labels
        new = label or int(self.labels.max()) + 1
        for _ in range(MOST_CLICKS):
            actions += 1  # a click
            found = fs.prompt(self.seen, [fs.Prompt(points, signs, mask=given)]).masks or ()
            proposals = [self.accepted(m, new, points, signs, label is not None) for m in found]
            good = next((n for n, plane in enumerate(proposals) if self.iou(i, plane == new) >= GOOD), None)
            accepted = proposals[good or 0]
            if good is not None:
                actions += good  # the key N
                if HOVERS and len(points) == 1 and not good:
                    actions -= 1  # the pointer rests there
                break
            at = self.wrong(i, accepted == new)
            points, signs = [*points, at], [*signs, int(self.truth[at] == i)]
        before = 0.0 if given is None else self.iou(i, given)
        if self.iou(i, accepted == new) > before:
            self.labels = accepted
            actions += 1  # the key C
        self.count(tool, actions)

    def accepted(self, mask: Mask, new: int, points: list[Pixel], signs: list[int], refining: bool) -> Labels:
        """Return the objects after a mask is accepted; those keep their pixels on which there is no positive click."""
        plane = self.labels.copy()
        plane[plane == new] = 0
        y0, x0, y1, x1 = mask.box
        part = plane[y0 : y1 + 1, x0 : x1 + 1]
        clicked = {int(self.labels[p]) for p, sign in zip(points, signs, strict=True) if sign} - {0, new}
        for other in clicked if (TAKES if refining else TAKES_NEW) else ():
            shared = mask.crop & (part == other)
            if refining or 2 * np.count_nonzero(shared) <= np.count_nonzero(plane == other):
                part[shared] = 0
        add_mask(part, mask.crop, new, "keep others")
        return plane

    def wrong(self, i: int, mask: Bool) -> Pixel:
        """Return where to click: in the largest part that is wrong."""
        true = self.truth == i
        largest, size = true, 0
        for part in (mask & ~true, true & ~mask):
            parts, count = ndimage.label(part)
            if count:
                sizes = np.bincount(parts.ravel())[1:]
                if sizes.max() > size:
                    largest, size = parts == sizes.argmax() + 1, int(sizes.max())
        return click(largest, self.way, self.rng)


def automatic(name: str, image: NDArray[np.uint8], cache: Path | None) -> Labels:
    """Return the automatic masks of an image."""
    file = None if cache is None else cache / f"{name}.npy"
    if file is not None and file.exists():
        return np.asarray(np.load(file), np.int64)
    labels = np.asarray(fs.automatic(image).labels, np.int64)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, labels)
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="rows of training/split.csv")
    parser.add_argument("--every", type=int, default=1, help="use every Nth image")
    parser.add_argument("--images", type=int, help="use the first N images only")
    parser.add_argument("--way", choices=WAYS, default="anywhere", help="where clicks are made")
    parser.add_argument("--cache", type=Path, help="folder that keeps the automatic masks for the next time")
    options = parser.parse_args()
    actions: Counter[str] = Counter()
    uses: Counter[str] = Counter()
    before: list[float] = []
    after: list[float] = []
    for n, (name, _, image, truth) in enumerate(images(options.split)):
        if n % options.every or (options.images is not None and n // options.every >= options.images):
            continue
        labels = automatic(name, image, options.cache)
        annotator = Annotator(image, truth, labels, options.way, np.random.default_rng(n))
        before += [annotator.iou(i, labels == p) if (p := annotator.partner(i)) else 0.0 for i in annotator.wanted]
        after += annotator.work()
        actions += annotator.actions
        uses += annotator.uses
    total = max(len(after), 1)
    print(f"{len(after)} objects; IoU {GOOD} or more: {np.mean(np.array(before) >= GOOD):.1%} before, ", end="")
    print(f"{np.mean(np.array(after) >= GOOD):.1%} after")
    print(f"{'':10}{'uses':>8}{'actions':>10}{'actions for 100 objects':>26}")
    for tool in ("delete", "split", "merge", "add", "refine"):
        print(f"{tool:10}{uses[tool]:8}{actions[tool]:10}{100 * actions[tool] / total:26.1f}")
    print(f"{'all':10}{uses.total():8}{actions.total():10}{100 * actions.total() / total:26.1f}")


if __name__ == "__main__":
    main()

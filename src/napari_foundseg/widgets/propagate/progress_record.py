"""Progress of a propagation: marked slices, confidence by slice, and the slices that remain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.widgets.propagate.slice_writing import SliceWriter

__all__ = ["ProgressRecord"]

Index = tuple[int, ...]


class ProgressRecord:
    """The slices and objects of one propagation.

    Parameters
    ----------
    axis : str
        The axis along which objects are followed.
    slice_axes : str
        All slice axes of the image.
    """

    def __init__(self, axis: str = "", slice_axes: str = "") -> None:
        self._at = max(0, slice_axes.find(axis))
        #: Marked slices of each object.
        self._marks: dict[int, set[int]] = {}
        self._found: dict[int, dict[int, float]] = {}
        self._rest: dict[int, Index] = {}
        self._prompts: dict[int, dict[Index, list[Prompt]]] = {}
        #: First and last slice of the first run.
        self.range = (0, 0)

    @property
    def ids(self) -> set[int]:
        """The ids of the objects."""
        return set(self._marks)

    @property
    def marked(self) -> set[int]:
        """The slices in which an object is marked."""
        return {at for slices in self._marks.values() for at in slices}

    @property
    def confidence(self) -> dict[int, float]:
        """The lowest confidence in each slice."""
        least: dict[int, float] = {}
        for slices in self._found.values():
            for at, score in slices.items():
                least[at] = min(score, least.get(at, 1.0))
        return least

    @property
    def count(self) -> int:
        """Number of slices that contain an object."""
        return len(self.confidence)

    def index(self, label: int, at: int) -> Index:
        """Return the full index of a slice in which an object is followed."""
        rest = self._rest[label]
        return (*rest[: self._at], at, *rest[self._at :])

    def note(self, inputs: Any, image: Image) -> None:
        """Record the marks of a run."""
        for label, prompts in inputs.prompts.items():
            new: dict[Index, list[Prompt]] = {}
            for prompt in prompts:
                index, _ = prompt.in_plane(image.shape, image.label_axes)
                new.setdefault(index, []).append(prompt)
                self._rest[label] = (*index[: self._at], *index[self._at + 1 :])
                self._marks.setdefault(label, set()).add(index[self._at])
            self._prompts.setdefault(label, {}).update(new)
        if len(self._found) == 0:
            self.range = inputs.first, inputs.last

    def add(self, parts: Iterable[tuple[Index, Mapping[int, Mask]]]) -> None:
        """Record slices that are done."""
        for index, masks in parts:
            for label, mask in masks.items():
                slices = self._found.setdefault(label, {})
                if mask.area:
                    slices[index[self._at]] = float(mask.predicted_iou)
                else:
                    slices.pop(index[self._at], None)

    def changed_by(self, label: int, index: Index) -> tuple[int, int]:
        """Return the first and last slice that a correction of an object changes.

        The range reaches halfway to the next marked slices, since each slice belongs to the nearer mark. Without a mark
        on a side, it reaches to the end of the first run's range. Adjacent slices without the object are included, too.
        """
        at = index[self._at]
        self._rest.setdefault(label, (*index[: self._at], *index[self._at + 1 :]))
        found = self._found.get(label, {})
        before = max((m for m in self._marks.get(label, ()) if m < at), default=None)
        after = min((m for m in self._marks.get(label, ()) if m > at), default=None)
        first, last = self.range
        if before is not None:
            first = (before + at) // 2 + 1
            while first - 1 > before and first - 1 not in found:
                first -= 1
        if after is not None:
            last = (at + after) // 2
            while last + 1 < after and last + 1 not in found:
                last += 1
        return min(first, at), max(last, at)

    def corrected_prompts(self, label: int, index: Index, prompt: Prompt) -> list[Prompt]:
        """Return all prompts of an object so far; this one replaces those of its slice."""
        known = {**self._prompts.get(label, {}), index: [prompt]}
        return [one for some in known.values() for one in some]

    def erase_missing(self, inputs: Any, writer: SliceWriter) -> None:
        """Remove a run's objects from slices of its range in which the run has not found them."""
        for label in inputs.prompts:
            slices = self._found.get(label, {})
            old = [
                at
                for at in list(slices)
                if inputs.first <= at <= inputs.last and self.index(label, at) not in writer.done.get(label, ())
            ]
            writer.erase(label, [self.index(label, at) for at in old])
            for at in old:
                del slices[at]

    def gaps(self, inputs: Any, writer: SliceWriter) -> list[tuple[int, int, dict[int, list[Index]]]]:
        """Return the ranges that a run has not done, each with the finished slices at its ends, by object."""
        found: dict[tuple[int, int], dict[int, list[Index]]] = {}
        for label in inputs.prompts:
            done = sorted(
                index[self._at] for index in writer.done.get(label, ()) if index[self._at] in self._found[label]
            )
            done = [at for at in done if inputs.first <= at <= inputs.last]
            if not done:
                # None of its slices is done: it is followed from its marks.
                continue
            ends = [(inputs.first, done[0]), *pairwise(done), (done[-1], inputs.last)]
            for first, last in ends:
                if last - first > (1 if first in done and last in done else 0):
                    held = [self.index(label, at) for at in (first, last) if at in done]
                    found.setdefault((first, last), {})[label] = held
        return [(first, last, marked) for (first, last), marked in found.items()]

    def words(self, seconds: float) -> str:
        """Return a sentence with the numbers of objects and slices, and the range of each object."""
        found = {label: slices for label, slices in self._found.items() if slices}
        if not found:
            return "Nothing was found. Mark the object on a slice where it is clear, or lower the stop rules."
        objects = f"{len(found)} object{'' if len(found) == 1 else 's'}"
        far = "; ".join(f"{label}: {min(s)} to {max(s)}" for label, s in sorted(found.items())[:8])
        more = "…" if len(found) > 8 else ""
        return f"{objects} in {self.count} slices ({far}{more}), {seconds:.1f} s"

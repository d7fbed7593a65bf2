"""Objects followed from the slices in which they are marked through a range of slices.

Marked slices come first. Then all objects are followed onward, one slice after the other, and then backward. Between
two marks of an object, each slice belongs to the nearer mark, so that a further mark changes only the slices up to its
neighbours. If the object ends early on the way from one mark, the way from the other mark continues. If two objects
claim a pixel, the one with the higher logit gets it, in every slice before the next slice is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import BadImageError, Cancelled
from napari_foundseg.core.masks import Box, Mask, iou
from napari_foundseg.tasks.frames.found import Expected, Found

__all__ = ["Following", "Part", "StopRule", "put_all"]

#: A slice along the axis, and the masks of the objects that changed in it, by id.
Part = tuple[int, dict[int, Mask]]

#: Area in pixels below which an object has ended.
_LEAST_AREA = 4
#: Least share of the smaller of two neighbouring masks that must be in the other.
_LEAST_SHARED = 0.4
#: Least IoU of the masks on both sides of slices in which an object was not found.
_BRIDGED = 0.4
#: Weight of the newest slice in the expected contrast of an object.
_NEWEST = 0.3
#: Weight of the newest step in the expected movement, and the largest movement as a share of the radius.
_NEWEST_STEP = 0.5
_FASTEST = 0.5
#: Largest distance, in slices, from which the mask of another object is used.
_NEAR = 8
#: Least contrast, in standard deviations of the noise, that is compared.
_SAYS = 1.0
#: Share of an object's height above the background by which the background may vary.
_UNEVEN = 0.25
#: Factor for the contrast in the marked slice, compared with that in the slices before: light may be uneven.
_OF_MARK = 0.5


@dataclass(frozen=True)
class StopRule:
    """Rule that decides when an object has ended.

    Parameters
    ----------
    score : float
        Predicted IoU below which a mask does not count.
    contrast : float
        Least share of the object's contrast that must be left.
    bridge : int
        Slices in a row in which an object may be missing.
    """

    score: float
    contrast: float
    bridge: int

    def reason(self, found: Found, expected: Found, mark: Found) -> str:
        """Return why an object is not in a slice; empty if it is."""
        if found.mask.area < _LEAST_AREA:
            return "nothing was found"
        if found.mask.predicted_iou < self.score:
            return f"predicted IoU {found.mask.predicted_iou:.2f}"
        if found.shared < _LEAST_SHARED:
            return "it lies elsewhere"
        left = self._contrast_left(found, expected, mark)
        return f"contrast {100 * left:.0f} %" if left < self.contrast else ""

    def _contrast_left(self, found: Found, expected: Found, mark: Found) -> float:
        """Return the share of an object's contrast that is left, with its surroundings or with the background.

        Neighbours that touch the object may be as bright as the object; then only the background differs from it.
        """
        around = ground = None
        if abs(expected.contrast) > _SAYS * expected.noise:
            around = found.contrast / expected.contrast
            if mark.contrast:
                around = min(around, found.contrast / mark.contrast / _OF_MARK)
        if abs(expected.level) > _SAYS * expected.noise:
            ground = found.level / expected.level - _UNEVEN
        if around is None:
            return 1.0 if ground is None else ground + _UNEVEN
        return around if ground is None else max(around, ground)


@dataclass(eq=False)
class _Walk:
    """Walk along one object from a marked slice in one direction."""

    label: int
    step: int
    at: int
    last: int
    mark: Found
    expected: Found
    before: Mask
    unseen: int = 0
    reached: int = field(init=False)
    movement: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.reached = self.at
        self.movement = np.zeros(2)

    @property
    def expects(self) -> Expected:
        """The object as it is expected in the next slice."""
        dy, dx = self.movement.round().astype(int).tolist()
        return Expected(self.before.moved(dy, dx), self.expected.grey)

    def moved_to(self, mask: Mask) -> None:
        """Update the mask and the movement with the mask of the next slice."""
        fastest = _FASTEST * np.sqrt(mask.area / np.pi)
        step = np.clip(_moved_by(self.before, mask), -fastest, fastest)
        self.movement += _NEWEST_STEP * (step - self.movement)
        self.before = mask

    @property
    def goes_on(self) -> bool:
        return self.at != self.last


class Following:
    """Walks along objects through the slices of a range.

    Parameters
    ----------
    marks : mapping of int to mapping of int to Found
        Each object in its marked slices, by id and slice.
    first, last : int
        First and last slice of the range, both included.
    onto : callable
        Takes a slice, the objects that are expected there, and masks of other objects there or nearby. Returns the
        objects that are found.
    stop : StopRule
        Rule that decides when an object has ended.
    emit : callable
        Called with each slice, and the objects that changed in it.
    """

    def __init__(
        self,
        marks: Mapping[int, Mapping[int, Found]],
        first: int,
        last: int,
        onto: Callable[[int, Sequence[Expected], Sequence[Mask]], list[Found]],
        stop: StopRule,
        emit: Callable[[Part], None],
    ) -> None:
        self._marks = marks
        self._range = first, last
        self._onto = onto
        self._stop = stop
        self._emit = emit
        #: Objects that were found in each slice, by id.
        self.found: dict[int, dict[int, Found]] = {}
        #: Where and why objects ended, by id, and why slices could not be read.
        self.ends: dict[int, dict[str, str]] = {}
        self.unreadable: dict[int, str] = {}
        #: Steps of all walks, without those of objects that ended early; and steps that are done.
        self.left = 0
        self.done = 0

    def run(self) -> None:
        """Follow all objects, first onward, then backward."""
        for at in sorted({at for slices in self._marks.values() for at in slices}):
            put_all(self.found, at, {i: slices[at] for i, slices in self._marks.items() if at in slices}, self._emit)
        onward = [walk for label in self._marks for walk in self._onward(label)]
        backward = [walk for label in self._marks for walk in self._backward(label)]
        self.left = sum(abs(walk.last - walk.at) for walk in (*onward, *backward))
        self._walk(onward)
        self._walk(backward)
        for ahead in onward:
            self._meet(ahead, backward)

    def _onward(self, label: int) -> list[_Walk]:
        at = sorted(self._marks[label])
        ends = [(a + b) // 2 for a, b in pairwise(at)] + [self._range[1]]
        return [self._begin(label, 1, a, end) for a, end in zip(at, ends, strict=True)]

    def _backward(self, label: int) -> list[_Walk]:
        at = sorted(self._marks[label])
        ends = [self._range[0]] + [(a + b) // 2 + 1 for a, b in pairwise(at)]
        return [self._begin(label, -1, a, end) for a, end in zip(at, ends, strict=True)]

    def _begin(self, label: int, step: int, at: int, last: int) -> _Walk:
        mark = self._marks[label][at]
        return _Walk(label, step, at, last, mark, mark, self.found[at][label].mask)

    def _meet(self, ahead: _Walk, backward: Sequence[_Walk]) -> None:
        """Continue from the other mark of a gap if the walk from one mark has ended before the middle."""
        end = ahead.last
        back = next((w for w in backward if w.label == ahead.label and w.last == end + 1), None)
        if back is None or end == self._range[1]:
            return
        for ended, other in ((ahead, back), (back, ahead)):
            if ended.reached != ended.last and other.reached == other.last:
                other.last = ended.reached + ended.step
                self.left += abs(other.last - other.at)
                self._walk([other])

    def _walk(self, walks: Sequence[_Walk]) -> None:
        walks = [walk for walk in walks if walk.goes_on and walk.before.area]
        while walks:
            step = walks[0].step
            at = min((walk.at + step for walk in walks), key=lambda k: step * k)
            group = [walk for walk in walks if walk.at + step == at]
            try:
                founds = self._onto(at, [walk.expects for walk in group], self._others(at, group))
            except Cancelled:
                raise
            except (BadImageError, OSError) as error:
                self.unreadable[at] = str(error)
                founds = []
            put = {}
            for walk, found in zip(group, founds, strict=bool(founds)):
                if self._take(walk, at, found):
                    put[walk.label] = found
            put_all(self.found, at, put, self._emit)
            for walk in group:
                walk.at = at
                self.done += 1
                if walk.label in put:
                    self._seen(walk, at)
            for walk in group:
                if not walk.goes_on or walk.unseen > self._stop.bridge:
                    self.left -= abs(walk.last - walk.at)
            walks = [walk for walk in walks if walk.goes_on and walk.unseen <= self._stop.bridge]

    def _others(self, at: int, group: Sequence[_Walk]) -> list[Mask]:
        """Return the masks of the objects outside a group, each from the nearest slice that has one."""
        missing = self._marks.keys() - {walk.label for walk in group}
        masks = []
        for label in missing:
            near = (at + k * sign for k in range(_NEAR + 1) for sign in (1, -1))
            found = next((self.found[k][label] for k in near if label in self.found.get(k, ())), None)
            if found is not None and found.mask.area:
                masks.append(found.mask)
        return masks

    def _take(self, walk: _Walk, at: int, found: Found) -> bool:
        """Tell whether a mask that was found is the object; if not, record why."""
        why = self._stop.reason(found, walk.expected, walk.mark)
        if not why and walk.unseen and iou(found.mask, walk.before) < _BRIDGED:
            why = "it lies elsewhere"
        if why:
            walk.unseen += 1
            if walk.unseen == 1:
                self.ends.setdefault(walk.label, {})["onward" if walk.step > 0 else "backward"] = f"slice {at}: {why}"
            return False
        if walk.unseen:
            self.ends[walk.label].pop("onward" if walk.step > 0 else "backward", None)
        walk.unseen = 0
        return True

    def _seen(self, walk: _Walk, at: int) -> None:
        stored = self.found[at][walk.label]
        if stored.mask.area < _LEAST_AREA:
            # Other objects have taken all of its pixels.
            walk.unseen = self._stop.bridge + 1
            return
        walk.moved_to(stored.mask)
        walk.reached = at
        old = walk.expected
        walk.expected = replace(
            stored,
            contrast=old.contrast + _NEWEST * (stored.contrast - old.contrast),
            level=old.level + _NEWEST * (stored.level - old.level),
        )


def _moved_by(before: Mask, after: Mask) -> NDArray[np.float64]:
    """Return the movement of a mask along rows and columns.

    An object has moved if both of its sides have moved. If only one has, the size of the object has changed.
    """
    edges = np.array(after.box, float) - np.array(before.box)
    low, high = edges[:2], edges[2:]
    together = np.sign(low) == np.sign(high)
    return np.where(together, np.sign(low) * np.minimum(np.abs(low), np.abs(high)), 0.0)


def put_all(
    found: dict[int, dict[int, Found]], at: int, new: Mapping[int, Found], emit: Callable[[Part], None]
) -> None:
    """Add the objects of a slice; contested pixels go to the object with the higher logit."""
    if not new:
        return
    here = found.setdefault(at, {})
    changed = set(new)
    for label, one in new.items():
        mine = one
        for other, theirs in list(here.items()):
            if other != label and (contested := _shared_box(mine.mask, theirs.mask)) is not None:
                mine, theirs_left = _parted(mine, theirs, contested)
                if theirs_left is not theirs:
                    here[other] = theirs_left
                    changed.add(other)
        here[label] = mine
    emit((at, {label: here[label].mask for label in sorted(changed)}))


def _shared_box(a: Mask, b: Mask) -> Box | None:
    y0, x0 = max(a.box[0], b.box[0]), max(a.box[1], b.box[1])
    y1, x1 = min(a.box[2], b.box[2]), min(a.box[3], b.box[3])
    return (y0, x0, y1, x1) if y0 <= y1 and x0 <= x1 else None


def _parted(a: Found, b: Found, box: Box) -> tuple[Found, Found]:
    """Give each contested pixel to one of two objects."""
    views = [_view(one, box) for one in (a, b)]
    both = views[0][0] & views[1][0]
    if not both.any():
        return a, b
    # Drawings of the user lose no pixels; if logits are equal, the earlier object keeps the pixel.
    wins = np.full(both.shape, a.kept and not b.kept) if a.kept or b.kept else views[0][1] > views[1][1]
    return _without(a, box, both & ~wins), _without(b, box, both & wins)


def _view(one: Found, box: Box) -> tuple[NDArray[np.bool_], NDArray[np.float16]]:
    y, x = one.mask.box[:2]
    part = slice(box[0] - y, box[2] - y + 1), slice(box[1] - x, box[3] - x + 1)
    return one.mask.crop[part], one.logits[part]


def _without(one: Found, box: Box, lost: NDArray[np.bool_]) -> Found:
    if not lost.any():
        return one
    crop = one.mask.crop.copy()
    y, x = one.mask.box[:2]
    crop[box[0] - y : box[2] - y + 1, box[1] - x : box[3] - x + 1] &= ~lost
    mask = one.mask
    scores = {"predicted_iou": mask.predicted_iou, "stability_score": mask.stability_score}
    left = Mask.from_array(crop, (y, x), index=mask.index, label=mask.label, **scores)
    if not left.area:
        return replace(one, mask=left, logits=np.zeros((0, 0), np.float16))
    rows = slice(left.box[0] - y, left.box[2] - y + 1)
    columns = slice(left.box[1] - x, left.box[3] - x + 1)
    return replace(one, mask=left, logits=one.logits[rows, columns])

"""Link sections of a stack to objects by overlap, all slices at once, so that no link depends on a starting slice.

Each section has at most one successor and one predecessor. Of all such choices, the one with most overlap is used (a
path cover of least cost, solved as one sparse assignment). A path may bridge one slice in two cases: over background,
where an object was missed, or through a section that covers two objects and is then divided. Paths are cut where they
narrow to a neck. Short remainders at the end or at the side of a path join it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.volumes.flooding import in_order
from napari_foundseg.core.volumes.sections import Overlaps, Sections, look_at_sections, numbered_planes

__all__ = ["Links", "bridge_gaps", "link_planes", "link_sections", "linked_planes"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Least IoU of two sections of one object.
_AGREEMENT = 0.25
#: Sections with less IoU may be linked if this share of the smaller is on the larger: the pole of a ball is small.
_CONTAINMENT = 0.75
#: Weights of links over a missing slice and through a section of two objects. Direct links, with weight 1, come first.
_BRIDGED = 0.5
_THROUGH = 0.3
#: Two sections share at least this part of the widest section on either side. Less is a neck.
_NECK = 0.25
#: Most slices of a remainder that joins the object next to it, and its largest share of that object's section.
_CAP = 2
_CAP_AREA = 0.5
#: Longest gap to bridge, in diameters of the sections.
_FARTHEST = 2.0


@dataclass(frozen=True, eq=False)
class Links:
    """The assignment of sections to objects.

    Parameters
    ----------
    object_of : (n,) ndarray of int
        The object of each section, numbered from 1 without a gap, in the order in which the objects start.
    divided : dict of int to list of (int, tuple of int)
        For each section that covers several objects: these objects, each with its sections in the slices before and
        after.
    """

    object_of: Ints
    divided: dict[int, list[tuple[int, tuple[int, ...]]]]

    @property
    def count(self) -> int:
        """The number of objects."""
        return int(self.object_of.max(initial=0))


def link_planes(
    planes: Iterable[NDArray[np.integer]],
    classes: Sequence[int] | Ints | None = None,
    *,
    distance: float = 1.0,
    bodies: bool = True,
) -> Links:
    """Link the sections of slices to objects.

    Parameters
    ----------
    planes : iterable of ndarray of int
        As for `numbered_planes`.
    classes : (n,) sequence of int, optional
        The class of each section. Only sections of the same class are linked.
    distance : float
        Distance of neighbouring slices, in pixels of a slice.
    bodies : bool
        Whether objects are bodies in a volume. False along time: nothing is cut at necks, divided or joined sideways.
    """
    return link_sections(look_at_sections(planes), classes, distance=distance, bodies=bodies)


def link_sections(
    sections: Sections, classes: Sequence[int] | Ints | None = None, *, distance: float = 1.0, bodies: bool = True
) -> Links:
    """Link sections to objects; see `link_planes`."""
    n = len(sections)
    if not n:
        return Links(np.empty(0, np.int64), {})
    kind = np.zeros(n, np.int64) if classes is None else np.asarray(classes, np.int64)
    pairs = sections.overlaps.chosen(kind[sections.overlaps.one] == kind[sections.overlaps.other])
    direct = pairs.chosen(pairs.between == -2)
    fitting = direct.chosen(_fits(sections, direct))
    bridges = pairs.chosen(pairs.between == -1)
    bridges = bridges.chosen(_fits(sections, bridges) & _near(sections, bridges, distance))
    through = _through(sections, pairs, direct) if bodies else pairs.chosen(np.zeros(len(pairs.one), bool))
    after, via = _best_paths(sections, [(fitting, 1.0), (bridges, _BRIDGED), (through, _THROUGH)])
    path = _paths(after)
    if bodies:
        path = _parted(sections, path, pairs)
        path = _with_caps(sections, path, fitting)
    object_of = in_order(path + 1).astype(np.int64)
    return Links(object_of, _divided(object_of, after, via, path))


def _fits(sections: Sections, pairs: Overlaps) -> Bools:
    return (sections.iou(pairs) >= _AGREEMENT) | (sections.inside(pairs) >= _CONTAINMENT)


def _near(sections: Sections, pairs: Overlaps, distance: float) -> Bools:
    """Return whether each bridge is short enough for objects of its width."""
    diameter = np.sqrt(4 / np.pi * np.minimum(sections.area[pairs.one], sections.area[pairs.other]))
    near: Bools = 2 * distance <= _FARTHEST * diameter
    return near


def _through(sections: Sections, pairs: Overlaps, direct: Overlaps) -> Overlaps:
    """Return pairs that look like one object through a section that also covers another object in both slices."""
    through = pairs.chosen(pairs.between >= 0)
    wide = len(sections)
    share = sections.inside(direct)
    smaller = sections.area[direct.one] <= sections.area[direct.other]
    covered = share >= _CONTAINMENT
    # Keys of a section and the larger section that covers it, in the next or in the previous slice.
    down = set((direct.one * wide + direct.other)[covered & smaller].tolist())
    up = set((direct.other * wide + direct.one)[covered & ~smaller].tolist())
    into: dict[int, int] = {}
    out: dict[int, int] = {}
    for key in down:
        into[key % wide] = into.get(key % wide, 0) + 1
    for key in up:
        out[key % wide] = out.get(key % wide, 0) + 1
    kept = [
        into.get(m, 0) > 1 and out.get(m, 0) > 1 and a * wide + m in down and b * wide + m in up
        for a, m, b in zip(through.one.tolist(), through.between.tolist(), through.other.tolist(), strict=True)
    ]
    return through.chosen(np.array(kept, bool) & _fits(sections, through))


def _best_paths(sections: Sections, links: Sequence[tuple[Overlaps, float]]) -> tuple[Ints, Ints]:
    """Return the successor of each section, or -1, and the section between the two, or -1."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    n = len(sections)
    one = np.concatenate([pairs.one for pairs, _ in links])
    other = np.concatenate([pairs.other for pairs, _ in links])
    gain = np.concatenate([w * (sections.iou(pairs) + sections.inside(pairs)) / 2 for pairs, w in links])
    between = np.concatenate([pairs.between for pairs, _ in links])
    key, first = np.unique(one * n + other, return_index=True)
    one, other, gain, between = one[first], other[first], gain[first], between[first]
    nodes = np.arange(n)
    # Besides the others, each section has its own dummy column, which it gets if it has no successor.
    cost = coo_array(
        (
            np.concatenate([2 - gain, np.full(n, 2.0)]),
            (np.concatenate([one, nodes]), np.concatenate([other, n + nodes])),
        ),
        shape=(n, 2 * n),
    ).tocsr()
    _, chosen = min_weight_full_bipartite_matching(cost)
    after = np.where(chosen < n, chosen, -1).astype(np.int64)
    at = np.searchsorted(key, nodes * n + after)
    via = np.full(n, -1, np.int64)
    linked = after >= 0
    via[linked] = np.maximum(between[at[linked]], -1)
    return after, via


def _paths(after: Ints) -> Ints:
    """Return the path of each section, named by its first section."""
    path = np.arange(len(after))
    # Successors have higher numbers, so one pass is enough.
    for section in np.flatnonzero(after >= 0).tolist():
        path[after[section]] = path[section]
    return path


def _parted(sections: Sections, path: Ints, pairs: Overlaps) -> Ints:
    """Cut paths at necks: links with little overlap between wide sections on both sides."""
    own = path[pairs.one] == path[pairs.other]
    n = len(path)
    shared = dict(zip((pairs.one * n + pairs.other)[own].tolist(), pairs.shared[own].tolist(), strict=True))
    parted = path.copy()
    order = np.argsort(path, kind="stable")
    starts = np.flatnonzero(np.diff(path[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        area = sections.area[members].astype(float)
        # For a bridge over a missing slice, only half of the overlap counts as the width.
        bridged = np.where(np.diff(sections.plane[members]) > 1, 0.5, 1.0)
        keys = members[:-1] * n + members[1:]
        width = np.array([shared.get(key, 0) for key in keys.tolist()]) * bridged
        for start, stop in _pieces(area, width):
            parted[members[start:stop]] = members[start]
    return parted


def _pieces(area: NDArray[np.float64], width: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Yield the first and last (excluded) section of each piece of a path. The narrowest neck is cut first."""
    todo = [(0, len(area))]
    while todo:
        start, stop = todo.pop()
        if stop - start > 1:
            left = np.maximum.accumulate(area[start : stop - 1])
            right = np.maximum.accumulate(area[start + 1 : stop][::-1])[::-1]
            narrow = width[start : stop - 1] / np.minimum(left, right)
            k = int(narrow.argmin())
            if narrow[k] < _NECK:
                todo += [(start + k + 1, stop), (start, start + k + 1)]
                continue
        yield start, stop


def _with_caps(sections: Sections, path: Ints, fitting: Overlaps) -> Ints:
    """Join short remaining paths to the path that covers them at both ends, or at one end if it is larger."""
    n = len(path)
    low = np.full(n, np.iinfo(np.int64).max)
    high = np.full(n, -1)
    np.minimum.at(low, path, sections.plane)
    np.maximum.at(high, path, sections.plane)
    peak = np.zeros(n, np.int64)
    np.maximum.at(peak, path, sections.area)
    across = path[fitting.one] != path[fitting.other]
    pairs = fitting.chosen(across & (sections.inside(fitting) >= _CONTAINMENT))
    ends: dict[tuple[int, int], list[tuple[bool, int, int]]] = {}
    for a, b, shared in zip(pairs.one.tolist(), pairs.other.tolist(), pairs.shared.tolist(), strict=True):
        for small, large, below in ((a, b, True), (b, a, False)):
            p, q = int(path[small]), int(path[large])
            at_end = sections.plane[small] == (high[p] if below else low[p])
            if sections.area[small] <= sections.area[large] and at_end:
                ends.setdefault((p, q), []).append((below, shared, int(sections.area[large])))
    joined = np.arange(n)
    best: dict[int, tuple[int, int]] = {}
    for (p, q), found in ends.items():
        both = len({below for below, _, _ in found}) == 2
        short = high[p] - low[p] < _CAP
        if both or (short and peak[p] <= _CAP_AREA * max(area for _, _, area in found)):
            best[p] = max(best.get(p, (0, 0)), (sum(shared for _, shared, _ in found), q))
    for p, (_, q) in best.items():
        joined[p] = q
    for _ in range(8):
        joined = joined[joined]
    return joined[path]


def _divided(object_of: Ints, after: Ints, via: Ints, path: Ints) -> dict[int, list[tuple[int, tuple[int, ...]]]]:
    """Return the sections that links of other paths pass through, with all objects in them."""
    before = np.full(len(after), -1, np.int64)
    linked = np.flatnonzero(after >= 0)
    before[after[linked]] = linked
    divided: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
    for a in np.flatnonzero(via >= 0).tolist():
        m, b = int(via[a]), int(after[a])
        if path[a] != path[b] or object_of[a] == object_of[m]:
            continue
        own = tuple(int(s) for s in (before[m], after[m]) if s >= 0 and object_of[s] == object_of[m])
        if own:
            divided.setdefault(m, [(int(object_of[m]), own)]).append((int(object_of[a]), (a, b)))
    return divided


def bridge_gaps(labels: NDArray[np.integer], distance: float) -> NDArray[np.int64]:
    """Join objects of a volume that only one slice without an object separates.

    Parameters
    ----------
    labels : (Z, Y, X) ndarray of int
        Ids 1 to n.
    distance : float
        Distance of neighbouring slices, in pixels of a slice.

    Returns
    -------
    (n + 1,) ndarray of int
        For each id, the id of the first part of its joined object; 0 for background.
    """
    sections = look_at_sections(labels)
    count = int(labels.max(initial=0))
    whole = np.arange(count + 1)
    if not count:
        return whole
    ids = np.concatenate([part[part > 0] for part in map(np.unique, labels)]).astype(np.int64)
    first = np.full(count + 1, len(labels))
    last = np.full(count + 1, -1)
    peak = np.zeros(count + 1, np.int64)
    np.minimum.at(first, ids, sections.plane)
    np.maximum.at(last, ids, sections.plane)
    np.maximum.at(peak, ids, sections.area)
    pairs = sections.overlaps.chosen(sections.overlaps.between == -1)
    one, other = ids[pairs.one], ids[pairs.other]
    ends = (one != other) & (last[one] == sections.plane[pairs.one]) & (first[other] == sections.plane[pairs.other])
    wide = _BRIDGED * pairs.shared >= _NECK * np.minimum(peak[one], peak[other])
    pairs = pairs.chosen(ends & wide & _fits(sections, pairs) & _near(sections, pairs, distance))
    after, _ = _best_paths(sections, [(pairs, 1.0)])
    for section in np.flatnonzero(after >= 0).tolist():
        whole[ids[after[section]]] = whole[ids[section]]
    return whole


def linked_planes(
    planes: Iterable[NDArray[np.integer]], links: Links, dtype: np.dtype[Any]
) -> Iterator[NDArray[np.integer]]:
    """Yield the slices with the ids of the objects. `planes` are the same as those that were linked."""
    from scipy import ndimage

    ids = np.append(links.object_of, 0).astype(dtype)
    held: list[NDArray[np.int32]] = []

    def written(k: int) -> NDArray[np.integer]:
        own = held[k]
        out = ids[own]
        present = np.unique(own) if links.divided else ()
        for m in (int(s) for s in present if int(s) in links.divided):
            inside = own == m
            objects = links.divided[m]
            far = [
                ndimage.distance_transform_edt(~np.isin(np.stack(held), of_object).any(0)) for _, of_object in objects
            ]
            out[inside] = np.array([label for label, _ in objects], dtype)[np.argmin(far, axis=0)[inside]]
        return out

    for number, (own, _) in enumerate(numbered_planes(planes)):
        held = [*held[-2:], own]
        if number:
            yield written(len(held) - 2)
    if held:
        held = held[-2:]
        yield written(len(held) - 1)

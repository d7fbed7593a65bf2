"""Drawn films with known tracks: cells that move, divide, come in and leave; and scores of tracks against them."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Film", "division_f1", "draw_film", "tra"]


class Film(NamedTuple):
    """A film and its truth."""

    frames: NDArray[np.uint16]
    """(T, Y, X) grey values."""
    truth: NDArray[np.uint16]
    """(T, Y, X) one id a track; a daughter has an id of its own."""
    parents: dict[int, int]
    """Of each daughter, the mother."""


class _Cell:
    def __init__(self, label: int, place: NDArray[np.float64], radius: float, rng: np.random.Generator) -> None:
        self.label = label
        self.place = place
        self.radius = radius
        self.grown = radius
        self.turn = rng.uniform(0, np.pi)
        self.long = rng.uniform(1.0, 1.3)
        self.drift = rng.normal(0, 1, 2)


def draw_film(
    frames: int = 60,
    cells: int = 30,
    divisions: int = 20,
    movement: float = 5.0,
    *,
    seed: int = 0,
    side: int = 320,
    radius: float = 9.0,
    daughter: float = 0.75,
    noise: float = 0.06,
) -> Film:
    """Draw a film.

    `movement`: pixels up to which a cell moves from frame to frame; `daughter`: radius of a daughter in radii of the
    mother, which grows to the usual one in the frames that follow.
    """
    rng = np.random.default_rng(seed)
    living: list[_Cell] = []
    while len(living) < cells:
        place = rng.uniform(1.5 * radius, side - 1.5 * radius, 2)
        own = radius * rng.uniform(0.85, 1.15)
        if all(np.linalg.norm(place - one.place) > 1.35 * (own + one.radius) for one in living):
            living.append(_Cell(len(living) + 1, place, own, rng))
    count = cells
    when = sorted(rng.choice(np.arange(3, max(frames - 3, 4)), divisions, replace=frames - 6 < divisions).tolist())
    truth = np.zeros((frames, side, side), np.uint16)
    parents: dict[int, int] = {}
    since = {one.label: -9 for one in living}
    for t in range(frames):
        for _ in range(when.count(t)):
            fit = [one for one in living if t - since[one.label] > 4 and _is_free(one, living, side)]
            if fit:
                mother = fit[int(rng.integers(len(fit)))]
                living.remove(mother)
                away = np.array([np.sin(mother.turn), np.cos(mother.turn)]) * mother.radius * daughter * 1.15
                for sign in (1, -1):
                    count += 1
                    child = _Cell(count, mother.place + sign * away, mother.radius * daughter, rng)
                    child.grown = mother.grown
                    child.turn = mother.turn + np.pi / 2
                    parents[count] = mother.label
                    since[count] = t
                    living.append(child)
        if t:
            _move([one for one in living if since[one.label] < t], living, movement, side, rng)
        for one in living:
            one.radius += 0.15 * (one.grown - one.radius)
            _draw(truth[t], one)
    return Film(_grey_values(truth, rng, noise), truth, parents)


def _is_free(one: _Cell, living: list[_Cell], side: int) -> bool:
    near = [np.linalg.norm(one.place - other.place) for other in living if other is not one]
    return min(near, default=np.inf) > 3.2 * one.radius and bool(
        (one.place > 2 * one.radius).all() and (one.place < side - 2 * one.radius).all()
    )


def _move(movers: list[_Cell], living: list[_Cell], movement: float, side: int, rng: np.random.Generator) -> None:
    for one in movers:
        one.drift = 0.7 * one.drift + rng.normal(0, 0.5, 2)
        for _ in range(12):
            step = one.drift + rng.normal(0, 0.6, 2)
            step *= rng.uniform(0.2, 1.0) * movement / max(np.linalg.norm(step), 1e-9)
            place = one.place + step
            inside = (place > 1.3 * one.radius).all() and (place < side - 1.3 * one.radius).all()
            if inside and all(
                np.linalg.norm(place - other.place) > 1.3 * (one.radius + other.radius) * 0.95
                for other in living
                if other is not one
            ):
                one.place = place
                break
            one.drift = rng.normal(0, 1, 2)
        one.turn += rng.normal(0, 0.1)


def _draw(plane: NDArray[np.uint16], one: _Cell) -> None:
    reach = int(np.ceil(1.4 * one.radius)) + 1
    y0, x0 = np.maximum(0, np.floor(one.place).astype(int) - reach)
    y1, x1 = np.minimum(plane.shape, np.ceil(one.place).astype(int) + reach)
    y, x = np.mgrid[y0:y1, x0:x1]
    u = np.cos(one.turn) * (y - one.place[0]) - np.sin(one.turn) * (x - one.place[1])
    v = np.sin(one.turn) * (y - one.place[0]) + np.cos(one.turn) * (x - one.place[1])
    stretch = np.sqrt(one.long)
    inside = (u / one.radius * stretch) ** 2 + (v / one.radius / stretch) ** 2 <= 1
    part = plane[y0:y1, x0:x1]
    part[inside & (part == 0)] = one.label


def _grey_values(truth: NDArray[np.uint16], rng: np.random.Generator, noise: float) -> NDArray[np.uint16]:
    light = np.concatenate([[0.0], rng.uniform(0.7, 1.0, int(truth.max()))])
    out = np.empty(truth.shape, np.uint16)
    for t, plane in enumerate(truth):
        signal = ndimage.gaussian_filter(light[plane].astype(np.float32), 1.0)
        grain = rng.normal(0, noise, plane.shape)
        out[t] = np.clip(3000 + 20000 * (signal + 0.1 + grain), 0, 65535)
    return out


def _matched(truth: NDArray[np.integer], found: NDArray[np.integer]) -> list[dict[int, int]]:
    """Return for each frame the true object that each found one covers more than half of, as the challenge does."""
    out = []
    for one, other in zip(truth, found, strict=True):
        area = np.bincount(one.ravel())
        pairs, counts = np.unique(np.stack([one[one > 0], other[one > 0]]), axis=1, return_counts=True)
        out.append({int(a): int(b) for (a, b), n in zip(pairs.T, counts, strict=True) if b > 0 and n > area[a] / 2})
    return out


def _edges(labels: NDArray[np.integer], parents: dict[int, int]) -> dict[tuple[int, int, int, int], bool]:
    """Return the edges of a lineage: frame and id, frame and id; True where a track begins with it."""
    frames: dict[int, list[int]] = {}
    for t, plane in enumerate(labels):
        for label in np.unique(plane[plane > 0]).tolist():
            frames.setdefault(label, []).append(t)
    edges = {(a, label, b, label): False for label, at in frames.items() for a, b in pairwise(at)}
    for child, mother in parents.items():
        if child in frames and mother in frames:
            edges[frames[mother][-1], mother, frames[child][0], child] = True
    return edges


def tra(
    truth: NDArray[np.integer], true_parents: dict[int, int], found: NDArray[np.integer], parents: dict[int, int]
) -> float:
    """Return TRA of the Cell Tracking Challenge: one less the cost of mending the graph, as a share of making it.

    Weights: 5 a split, 10 a missing and 1 a false object; 1 a false, 1.5 a missing and 1 a wrong edge.
    """
    matches = _matched(truth, found)
    true_of: dict[tuple[int, int], list[int]] = {}
    for t, pairs in enumerate(matches):
        for a, b in pairs.items():
            true_of.setdefault((t, b), []).append(a)
    nodes = sum(len(np.unique(plane[plane > 0])) for plane in truth)
    others = sum(len(np.unique(plane[plane > 0])) for plane in found)
    missing = nodes - sum(map(len, matches))
    split = sum(len(of) - 1 for of in true_of.values())
    false = others - len(true_of)
    wanted = _edges(truth, true_parents)
    there = _edges(found, parents)
    single = {key: of[0] for key, of in true_of.items() if len(of) == 1}
    mapped = {
        (a, single[a, p], b, single[b, q]): kind
        for (a, p, b, q), kind in there.items()
        if (a, p) in single and (b, q) in single
    }
    extra = sum(edge not in wanted for edge in mapped)
    lost = sum(edge not in mapped for edge in wanted)
    wrong = sum(wanted[edge] != kind for edge, kind in mapped.items() if edge in wanted)
    cost = 5 * split + 10 * missing + false + extra + 1.5 * lost + wrong
    whole = 10 * nodes + 1.5 * len(wanted)
    return 1 - min(cost, whole) / whole


def division_f1(
    truth: NDArray[np.integer], true_parents: dict[int, int], found: NDArray[np.integer], parents: dict[int, int]
) -> float:
    """Return F1 of divisions: both daughters are those of the true ones in their first frame, and so is the mother."""
    matches = _matched(truth, found)

    def spans(labels: NDArray[np.integer]) -> tuple[dict[int, int], dict[int, int]]:
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for t, plane in enumerate(labels):
            for label in np.unique(plane[plane > 0]).tolist():
                first.setdefault(label, t)
                last[label] = t
        return first, last

    def by_mother(of: dict[int, int]) -> dict[int, list[int]]:
        out: dict[int, list[int]] = {}
        for child, mother in of.items():
            out.setdefault(mother, []).append(child)
        return {mother: children for mother, children in out.items() if len(children) > 1}

    first, last = spans(truth)
    own = {frozenset(children): mother for mother, children in by_mother(parents).items()}
    true = by_mother(true_parents)
    right = 0
    for mother, children in true.items():
        seen = frozenset(matches[first[child]].get(child, 0) for child in children)
        if seen in own and own[seen] == matches[last[mother]].get(mother, -1):
            right += 1
    total = len(true) + len(own)
    return 2 * right / total if total else 1.0

"""The best links from open tracks to the objects of the next frame, all chosen at once.

Each object of the frame continues one track, is one of two daughters of a track that divides, or starts a new track.
The choice has the least total cost (an integer linear program).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ends", "LinkRule", "Newcomers", "best_links"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Cost of the end of a track, of its start, and of a start at the edge of the frame, where objects come in.
_END = 0.6
_BEGINNING = 0.6
_COMING_IN = 0.45
#: Weights of distance, size and overlap in the cost of a link. Their sum is 1, so that a link within reach always costs
#: less than an end and a start.
_DISTANCE = 0.6
_SIZE = 0.25
_OVERLAP = 0.15
#: Cost of each frame in which an object was missing.
_GAP = 0.2
#: If at least this share of the smaller object is on the other, they may be linked at any distance of their centres.
_COVERED = 0.5
#: Of a division: its own cost, and the weights of the evidence against it.
_DIVISION = 0.3
_MIDDLE = 0.4
_SUM = 0.25
_UNEVEN = 0.25
_ASKEW = 0.35
#: Area of both daughters, in areas of the mother: expected, least and most; and the most of one daughter.
_BOTH = 1.2
_LEAST_BOTH = 0.5
_MOST_BOTH = 2.4
_ONE = 1.2
#: Least share of a daughter in the area of both.
_SMALLER = 0.25


@dataclass(frozen=True)
class LinkRule:
    """The rule for links.

    Parameters
    ----------
    reach : float
        Largest movement from one frame to the next.
    divisions : bool
        Whether tracks may divide.
    least_area : float
        Least area of a daughter.
    """

    reach: float
    divisions: bool
    least_area: float


@dataclass(frozen=True, eq=False)
class Ends:
    """The ends of the tracks that may continue.

    Parameters
    ----------
    place, expected : (n, d) ndarray of float
        The last place of each track, and its expected place in the next frame if it moves as before.
    area : (n,) ndarray of float
        Its recent size.
    kind : (n,) ndarray of int
        Its class.
    missed : (n,) ndarray of int
        Number of frames before the next one in which it was missing.
    """

    place: Floats
    expected: Floats
    area: Floats
    kind: Ints
    missed: Ints


@dataclass(frozen=True, eq=False)
class Newcomers:
    """The objects of the next frame: places, areas, classes, and whether they touch the edge."""

    place: Floats
    area: Floats
    kind: Ints
    at_edge: NDArray[np.bool_]


def best_links(
    ends: Ends, found: Newcomers, shared: dict[tuple[int, int], int], rule: LinkRule
) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]]]:
    """Link the ends of tracks to the objects of the next frame.

    Parameters
    ----------
    ends : Ends
        The ends of the tracks.
    found : Newcomers
        The objects.
    shared : dict of (int, int) to int
        Number of pixels that the last object of a track shares with an object of the next frame.
    rule : LinkRule
        The rule for links.

    Returns
    -------
    list of (int, int)
        Each continued track and its next object.
    list of (int, int, int)
        Each dividing track and its two daughters.
    """
    if not len(ends.area) or not len(found.area):
        return [], []
    one, other, near = _candidates(ends, found, shared, rule)
    if not len(one):
        return [], []
    size = np.minimum(1.0, np.abs(np.log2(found.area[other] / ends.area[one])))
    apart = 1 - _overlap(ends, found, shared, one, other)
    link = _DISTANCE * np.minimum(1.0, near) ** 2 + _SIZE * size + _OVERLAP * apart + _GAP * ends.missed[one]
    begin = np.where(found.at_edge, _COMING_IN, _BEGINNING)
    # A link saves the costs of the end of the track and of a start with the object.
    saved = _END + begin[other] - link
    mothers, first, second, divided = _divisions(ends, found, one, other, rule)
    divided = _END + begin[first] + begin[second] - divided
    return _chosen((len(ends.area), len(found.area)), (one, other, saved), (mothers, first, second, divided))


def _candidates(
    ends: Ends, found: Newcomers, shared: dict[tuple[int, int], int], rule: LinkRule
) -> tuple[Ints, Ints, Floats]:
    """Return tracks and objects that may be linked, and their distance as a share of the reach."""
    from scipy.spatial import KDTree

    reach = rule.reach * np.sqrt(1 + ends.missed)
    tree = KDTree(found.place)
    pairs: dict[tuple[int, int], float] = {}
    for places in (ends.place, ends.expected):
        for a, near in enumerate(tree.query_ball_point(places, reach)):
            for b in near:
                far = float(np.linalg.norm(found.place[b] - places[a]) / reach[a])
                pairs[a, b] = min(far, pairs.get((a, b), np.inf))
    for (a, b), pixels in shared.items():
        if (a, b) not in pairs and pixels >= _COVERED * min(ends.area[a], found.area[b]):
            pairs[a, b] = 1.0
    of_one_kind = sorted((a, b) for a, b in pairs if ends.kind[a] == found.kind[b])
    one, other = np.array(of_one_kind, np.int64).reshape(-1, 2).T
    return one, other, np.array([pairs[pair] for pair in of_one_kind], float)


def _overlap(ends: Ends, found: Newcomers, shared: dict[tuple[int, int], int], one: Ints, other: Ints) -> Floats:
    pixels = np.array([shared.get(pair, 0) for pair in zip(one.tolist(), other.tolist(), strict=True)], float)
    return np.minimum(1.0, pixels / np.minimum(ends.area[one], found.area[other]))


def _divisions(ends: Ends, found: Newcomers, one: Ints, other: Ints, rule: LinkRule) -> tuple[Ints, Ints, Ints, Floats]:
    """Return tracks that may divide, their first and second daughters, and the costs."""
    rows: list[tuple[int, int, int]] = []
    if rule.divisions:
        large = found.area >= rule.least_area
        starts = np.searchsorted(one, np.arange(len(ends.area) + 1))
        for mother in np.flatnonzero(np.diff(starts) > 1).tolist():
            near = other[starts[mother] : starts[mother + 1]]
            near = near[large[near] & (found.area[near] <= _ONE * ends.area[mother])]
            i, j = np.triu_indices(len(near), 1)
            area = found.area[near]
            both = area[i] + area[j]
            fits = (both >= _LEAST_BOTH * ends.area[mother]) & (both <= _MOST_BOTH * ends.area[mother])
            fits &= np.minimum(area[i], area[j]) >= _SMALLER * both
            rows += [(mother, a, b) for a, b in zip(near[i[fits]].tolist(), near[j[fits]].tolist(), strict=True)]
    mothers, first, second = np.array(rows, np.int64).reshape(-1, 3).T
    a, b = found.area[first], found.area[second]
    middle = (found.place[first] * a[:, None] + found.place[second] * b[:, None]) / (a + b)[:, None]
    moved = np.minimum(
        np.linalg.norm(middle - ends.place[mothers], axis=1), np.linalg.norm(middle - ends.expected[mothers], axis=1)
    )
    half = np.linalg.norm(found.place[first] - found.place[second], axis=1) / 2
    cost = (
        _DIVISION
        + _MIDDLE * np.minimum(1.0, moved / rule.reach) ** 2
        + _SUM * np.abs(np.log2((a + b) / (_BOTH * ends.area[mothers])))
        + _UNEVEN * np.abs(np.log2(a / b))
        + _ASKEW * np.minimum(1.0, moved / np.maximum(half, 1e-9)) ** 2
        + _GAP * ends.missed[mothers]
    )
    return mothers, first, second, np.asarray(cost, float)


def _chosen(
    sizes: tuple[int, int], links: tuple[Ints, Ints, Floats], divisions: tuple[Ints, Ints, Ints, Floats]
) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]]]:
    """Choose the links and divisions that save most. Each track and each object is in at most one of them."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    one, other, saved = links
    kept = divisions[3] > 0
    mothers, first, second, divided = (part[kept] for part in divisions)
    if not len(mothers):
        return _assigned(sizes, one, other, saved), []
    n, m = len(one), len(mothers)
    at = np.arange(n + m)
    rows = np.concatenate([one, mothers, sizes[0] + other, sizes[0] + first, sizes[0] + second])
    columns = np.concatenate([at[:n], at[n:], at[:n], at[n:], at[n:]])
    used = coo_array((np.ones(len(rows)), (rows, columns)), shape=(sum(sizes), n + m)).tocsr()
    found = milp(
        -np.concatenate([saved, divided]),
        integrality=np.ones(n + m),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(used, ub=1),
    )
    if found.x is None:
        # The solver has given up: use the best links without divisions.
        return _assigned(sizes, one, other, saved), []
    taken = np.round(found.x).astype(bool)
    linked = np.flatnonzero(taken[:n])
    parted = np.flatnonzero(taken[n:])
    return (
        list(zip(one[linked].tolist(), other[linked].tolist(), strict=True)),
        [(int(mothers[k]), int(first[k]), int(second[k])) for k in parted],
    )


def _assigned(sizes: tuple[int, int], one: Ints, other: Ints, saved: Floats) -> list[tuple[int, int]]:
    """Choose the links that save most, without divisions."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    good = saved > 0
    rows, columns = one[good], other[good]
    # Besides the objects, each track has its own dummy column, which it gets if it is not linked.
    tracks = np.arange(sizes[0])
    cost = coo_array(
        (
            np.concatenate([2 - saved[good], np.full(sizes[0], 2.0)]),
            (np.concatenate([rows, tracks]), np.concatenate([columns, sizes[1] + tracks])),
        ),
        shape=(sizes[0], sizes[1] + sizes[0]),
    )
    of_track, chosen = min_weight_full_bipartite_matching(cost.tocsr())
    linked = chosen < sizes[1]
    return list(zip(of_track[linked].tolist(), chosen[linked].tolist(), strict=True))

"""Tracks: the objects of a film, linked from frame to frame with divisions and short gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.films.frame_links import Ends, LinkRule, Newcomers, best_links
from napari_foundseg.core.films.movement import find_movement
from napari_foundseg.core.films.spots import Spots

__all__ = ["TrackRule", "Tracks", "track_spots"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Least area of a daughter, as a share of the typical area.
_SPECK = 0.15
#: Number of recent frames that give the size of a track.
_RECENT = 5
#: Weight of the newest step in the velocity of a track.
_NEW = 0.5


@dataclass(frozen=True)
class TrackRule:
    """The rule for linking objects along time.

    Parameters
    ----------
    max_movement : float, optional
        Largest movement of an object from one frame to the next, in pixels of the last axis; measured by default.
    divisions : bool
        Whether objects may divide.
    max_gap : int
        Most consecutive frames in which an object may be missing and still keep its id.
    """

    max_movement: float | None = None
    divisions: bool = True
    max_gap: int = 1


@dataclass(frozen=True, eq=False)
class Tracks:
    """The tracks of a film.

    Parameters
    ----------
    of_spot : (n,) ndarray of int
        The track of each object, numbered from 1 without a gap, in the order in which the tracks start.
    parents : dict of int to int
        For each daughter, the track that divided.
    first, last : (m,) ndarray of int
        First and last frame of tracks 1 to m.
    max_movement : float
        The largest movement that was allowed, in pixels of the last axis.
    gaps : int
        Number of links across missing frames.
    """

    of_spot: Ints
    parents: dict[int, int]
    first: Ints
    last: Ints
    max_movement: float
    gaps: int

    @property
    def count(self) -> int:
        """The number of tracks."""
        return len(self.first)

    @property
    def divisions(self) -> int:
        """The number of tracks that divide."""
        return len(set(self.parents.values()))


@dataclass
class _Open:
    """A track that may continue."""

    spots: list[int]
    velocity: Floats | None = None
    missed: int = 0
    areas: list[float] = field(default_factory=list)


def track_spots(
    spots: Spots,
    pixel: Sequence[float],
    rule: TrackRule,
    kinds: NDArray[Any] | None = None,
    poll: Callable[[int], None] = lambda _frame: None,
) -> Tracks:
    """Link the objects of all frames.

    Parameters
    ----------
    spots : Spots
        The objects.
    pixel : sequence of float
        Size of a pixel along each axis of a frame, in pixels of the last axis.
    rule : TrackRule
        The rule for linking.
    kinds : (n,) ndarray of int, optional
        The class of each object. Only objects of the same class are linked.
    poll : callable
        Called with the number of each frame before it is linked.
    """
    places = spots.centre * np.asarray(pixel, float)
    area = spots.area.astype(float)
    typical = float(np.median(area)) if len(area) else 1.0
    dimensions = spots.centre.shape[1]
    volume = typical * float(np.prod(pixel))
    diameter = 2 * (volume / np.pi) ** 0.5 if dimensions == 2 else 2 * (volume * 3 / 4 / np.pi) ** (1 / 3)
    reach = find_movement(spots, places, diameter) if rule.max_movement is None else float(rule.max_movement)
    how = LinkRule(max(reach, 1e-6), rule.divisions, _SPECK * typical)
    kind = np.zeros(len(spots), np.int64) if kinds is None else np.asarray(kinds, np.int64)
    starts = spots.starts()
    track = np.zeros(len(spots), np.int64)
    parents: dict[int, int] = {}
    known: dict[int, _Open] = {}
    state = _State(0, 0)
    shared = _by_frame(spots)
    for t in range(spots.frames):
        poll(t)
        numbers = np.arange(starts[t], starts[t + 1])
        names = list(known)
        ends = _ends([known[name] for name in names], places, kind)
        found = Newcomers(places[numbers], area[numbers], kind[numbers], spots.at_edge[numbers])
        row_of = {known[name].spots[-1]: row for row, name in enumerate(names)}
        own = {(row_of[a], b - int(starts[t])): n for (a, b), n in shared.get(t, {}).items() if a in row_of}
        links, divisions = best_links(ends, found, own, how) if names else ([], [])
        for row, column in links:
            name = names[row]
            state.gaps += known[name].missed > 0
            _go_on(known[name], int(numbers[column]), places, area)
            track[numbers[column]] = name
        daughters = {column: names[row] for row, *pair in divisions for column in pair}
        for column, number in enumerate(numbers.tolist()):
            if not track[number]:
                state.count += 1
                track[number] = state.count
                known[state.count] = _Open([number], areas=[area[number]])
                if column in daughters:
                    parents[state.count] = daughters[column]
        gone_on = {int(track[number]) for number in numbers}
        divided = set(daughters.values())
        for name in list(known):
            known[name].missed = 0 if name in gone_on else known[name].missed + 1
            if name in divided or known[name].missed > rule.max_gap:
                del known[name]
    first = np.full(state.count, spots.frames, np.int64)
    last = np.full(state.count, -1, np.int64)
    np.minimum.at(first, track - 1, spots.frame)
    np.maximum.at(last, track - 1, spots.frame)
    return Tracks(track, parents, first, last, reach, state.gaps)


@dataclass
class _State:
    count: int
    gaps: int


def _by_frame(spots: Spots) -> dict[int, dict[tuple[int, int], int]]:
    """Return the shared pixels, grouped by the frame of the later object."""
    found: dict[int, dict[tuple[int, int], int]] = {}
    for (a, b), pixels in spots.shared.items():
        found.setdefault(int(spots.frame[b]), {})[a, b] = pixels
    return found


def _ends(tracks: list[_Open], places: Floats, kind: Ints) -> Ends:
    """Return the ends of tracks. New tracks are expected to move with the median velocity of the others."""
    steps = [one.velocity for one in tracks if one.velocity is not None]
    usual = np.median(steps, axis=0) if steps else np.zeros(places.shape[1])
    last = np.array([one.spots[-1] for one in tracks], np.int64)
    ahead = [(one.missed + 1) * (usual if one.velocity is None else one.velocity) for one in tracks]
    return Ends(
        places[last],
        places[last] + np.reshape(ahead, (len(tracks), places.shape[1])),
        np.array([float(np.median(one.areas)) for one in tracks]),
        kind[last],
        np.array([one.missed for one in tracks], np.int64),
    )


def _go_on(one: _Open, number: int, places: Floats, area: Floats) -> None:
    """Continue a track with an object."""
    step = (places[number] - places[one.spots[-1]]) / (one.missed + 1)
    one.velocity = step if one.velocity is None else (1 - _NEW) * one.velocity + _NEW * step
    one.spots = [number]
    one.missed = 0
    one.areas = [*one.areas[1 - _RECENT :], float(area[number])]

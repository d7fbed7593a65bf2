"""`Lineage`: the tracks that follow from labels and parents, and the problems in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.films.spots import Spots

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Lineage", "lineage_of"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lineage:
    """Tracks whose ids are the labels.

    Parameters
    ----------
    ids, first, last : (m,) ndarray of int
        The tracks, with first and last frame, by ascending id.
    parents : dict of int to int
        For each daughter its parent, which ends before the daughter starts.
    gaps : dict of int to list of int
        For each track with gaps, the last frame before each gap.
    resumed : dict of int to list of int
        The first frame after each of these gaps.
    notes : list of str
        The problems that were found and left out, one sentence each.
    """

    ids: Ints
    first: Ints
    last: Ints
    parents: dict[int, int]
    gaps: dict[int, list[int]]
    resumed: dict[int, list[int]]
    notes: list[str]

    @property
    def divisions(self) -> int:
        """The number of tracks with two daughters or more."""
        mothers = list(self.parents.values())
        return sum(mothers.count(mother) > 1 for mother in set(mothers))

    def table(self) -> pd.DataFrame:
        """Return one row per track: ``track``, ``parent`` (0 for none), ``first_frame``, ``last_frame``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "track": self.ids,
                "parent": [self.parents.get(int(label), 0) for label in self.ids],
                "first_frame": self.first,
                "last_frame": self.last,
            }
        )


def lineage_of(spots: Spots, parents: Mapping[int, int]) -> Lineage:
    """Return the lineage of labels whose ids are tracks.

    Parameters
    ----------
    spots : Spots
        The objects of the current labels.
    parents : mapping of int to int
        The parent of each track before edits; 0 for none.
    """
    ids, index = np.unique(spots.label, return_inverse=True)
    first = np.full(len(ids), spots.frames, np.int64)
    last = np.full(len(ids), -1, np.int64)
    np.minimum.at(first, index, spots.frame)
    np.maximum.at(last, index, spots.frame)
    starts = dict(zip(ids.tolist(), first.tolist(), strict=True))
    ends = dict(zip(ids.tolist(), last.tolist(), strict=True))
    kept: dict[int, int] = {}
    notes = []
    for child, parent in sorted((int(a), int(b)) for a, b in parents.items()):
        if not parent or child not in starts:
            continue
        if parent not in ends:
            notes.append(f"Track {child} comes from track {parent}, which is not there any more: it has no parent now.")
        elif ends[parent] >= starts[child]:
            notes.append(
                f"Track {child} begins in frame {starts[child]}, before its parent {parent} ends (frame "
                f"{ends[parent]}): it has no parent now."
            )
        else:
            kept[child] = parent
    return Lineage(ids, first, last, kept, *_gaps(spots, ids, index), notes)


def _gaps(spots: Spots, ids: Ints, index: Ints) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return the last frames before the gaps of tracks, and the first frames after them."""
    order = np.lexsort((spots.frame, index))
    track = index[order]
    frame = spots.frame[order]
    holes = np.flatnonzero((np.diff(track) == 0) & (np.diff(frame) > 1))
    before: dict[int, list[int]] = {}
    behind: dict[int, list[int]] = {}
    for k in holes.tolist():
        before.setdefault(int(ids[track[k]]), []).append(int(frame[k]))
        behind.setdefault(int(ids[track[k]]), []).append(int(frame[k + 1]))
    return before, behind

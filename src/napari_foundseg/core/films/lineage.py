"""`Lineage`: the tracks that labels and parents give, with what is not in order in them."""

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
        Each track with its first and last frame, by ascending id.
    parents : dict of int to int
        Of each daughter, the track that it comes from, which ends before.
    gaps : dict of int to list of int
        Of each track with frames in which it is missing, the last frame before each gap.
    resumed : dict of int to list of int
        The first frame behind each of these gaps.
    notes : list of str
        What was not in order and is left out.
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
        """Return a row a track: ``track``, ``parent`` (0 for none), ``first_frame``, ``last_frame``."""
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
        The objects of the labels as they are now.
    parents : mapping of int to int
        The parent of each track, as it was known before edits; 0 for none.
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
    """Return the last frames before the gaps of tracks, and the first ones behind."""
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

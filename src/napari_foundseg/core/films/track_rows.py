"""Rows of tracks in the format of napari's Tracks layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.films.film_frames import frame_axes
from napari_foundseg.core.films.lineage import Lineage
from napari_foundseg.core.films.spots import Spots

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["track_graph", "track_rows"]


def track_rows(spots: Spots, lineage: Lineage, axes: str) -> tuple[NDArray[np.float64], pd.DataFrame]:
    """Return one row per object, sorted by track and frame, and the features of the rows.

    Parameters
    ----------
    spots : Spots
        The objects of labels whose ids are tracks.
    lineage : Lineage
        Their tracks.
    axes : str
        A letter for each axis of the labels. The position along axes other than T, Z, Y and X is 0.

    Returns
    -------
    (n, 1 + d) ndarray of float
        The track, and the position along each axis in pixels.
    pandas.DataFrame
        ``parent``, ``area``, and ``missed``, the number of frames just before this one in which the object is missing.
    """
    import pandas as pd

    order = np.lexsort((spots.frame, spots.label))
    track = spots.label[order]
    frame = spots.frame[order]
    rows = np.zeros((len(order), 1 + len(axes)))
    rows[:, 0] = track
    place = frame_axes(axes)
    for i, axis in enumerate(axes, 1):
        if axis == "T":
            rows[:, i] = frame
        elif axis in place:
            rows[:, i] = spots.centre[order, place.index(axis)]
    goes_on = np.diff(track, prepend=-1) == 0
    missed = np.where(goes_on, np.diff(frame, prepend=0) - 1, 0)
    parents = [lineage.parents.get(label, 0) for label in track.tolist()]
    return rows, pd.DataFrame({"parent": parents, "area": spots.area[order], "missed": missed})


def track_graph(lineage: Lineage) -> dict[int, list[int]]:
    """Return the parents of each daughter, as a list of one."""
    return {child: [parent] for child, parent in lineage.parents.items()}

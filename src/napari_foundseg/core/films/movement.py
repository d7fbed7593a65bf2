"""The distance that objects move from frame to frame, measured on the film."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.films.spots import Spots

__all__ = ["find_movement"]

#: Largest movement to search for, as a multiple of the movement that nearly all objects stay below.
_MARGIN = 1.5
#: Percentage of the objects that counts as nearly all.
_NEARLY_ALL = 95
#: Least result in diameters. Outlines that differ from frame to frame move the centre, and so does a division.
_LEAST = 0.75
#: Greatest result in diameters, or in multiples of the median movement if that is more. Pairs further apart are
#: probably two objects, one of which has left while the other came in.
_MOST = 4.0
_MIDDLE = 3.0


def find_movement(spots: Spots, places: NDArray[np.float64], diameter: float) -> float:
    """Return how far an object may move from one frame to the next.

    Parameters
    ----------
    spots : Spots
        All objects.
    places : (n, d) ndarray of float
        Their centres, in the same unit on all axes.
    diameter : float
        Diameter of a typical object, in that unit.

    Notes
    -----
    Two objects in neighbouring frames that are each other's nearest are taken for the same object. The movement is
    measured on these pairs without the most distant ones.
    """
    from scipy.spatial import KDTree

    starts = spots.starts()
    steps = [np.empty(0)]
    for t in range(spots.frames - 1):
        one = places[starts[t] : starts[t + 1]]
        other = places[starts[t + 1] : starts[t + 2]]
        if len(one) and len(other):
            distance, forward = KDTree(other).query(one)
            _, back = KDTree(one).query(other)
            mutual = back[forward] == np.arange(len(one))
            steps.append(np.asarray(distance)[mutual])
    moved = np.concatenate(steps)
    if not len(moved):
        return _LEAST * diameter
    most = max(_MOST * diameter, _MIDDLE * float(np.median(moved)))
    return max(min(_MARGIN * float(np.percentile(moved, _NEARLY_ALL)), most), _LEAST * diameter)

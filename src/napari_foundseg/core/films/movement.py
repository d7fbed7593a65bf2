"""How far objects move from frame to frame, found from a film itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.films.spots import Spots

__all__ = ["find_movement"]

#: The movement that is looked for, in multiples of one that nearly all objects stay below.
_MARGIN = 1.5
#: Share of the objects that move less than that.
_NEARLY_ALL = 95
#: Least movement, in diameters: outlines that differ from frame to frame move the centre, and so does a division.
_LEAST = 0.75
#: Most movement, in diameters, unless objects in the middle of the order move as far: pairs further apart than that are
#: likely to be two objects, of which one has left and the other come in.
_MOST = 4.0
_MIDDLE = 3.0


def find_movement(spots: Spots, places: NDArray[np.float64], diameter: float) -> float:
    """Return how far an object may move from one frame to the next.

    Parameters
    ----------
    spots : Spots
        All objects.
    places : (n, d) ndarray of float
        Their centres, in one unit.
    diameter : float
        Of a typical object, in that unit.

    Notes
    -----
    Pairs that are each other's nearest in neighbouring frames are taken for one object; all but the most distant of
    them say how far objects move.
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

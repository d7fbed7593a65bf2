"""Label images whose ids are tracks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.films.film_frames import check_film, film_frames, frame_pixel, write_frames
from napari_foundseg.core.films.spots import Spots, find_spots
from napari_foundseg.core.films.tracking import TrackRule, Tracks, track_spots
from napari_foundseg.core.labels import label_dtype

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TrackedFilm", "track_film"]


@dataclass(frozen=True, eq=False)
class TrackedFilm:
    """The objects of a film and their tracks, as a lazy label image whose ids are tracks.

    Parameters
    ----------
    source : array
        The label image that was tracked, NumPy or lazy.
    axes : str
        The axes of the label image.
    spots : Spots
        The objects of the label image.
    tracks : Tracks
        The tracks.
    """

    source: Any
    axes: str
    spots: Spots
    tracks: Tracks

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the label image."""
        return tuple(self.source.shape)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The dtype of the ids."""
        return label_dtype(self.tracks.count)

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[np.unsignedinteger[Any]]:
        """Return one frame with the ids of the tracks. The key is a frame number at axis T, else whole slices."""
        t = int(key[self.axes.index("T")])
        frame = in_memory(self.source[key])
        starts = self.spots.starts()
        known = self.spots.label[starts[t] : starts[t + 1]]
        ids = self.tracks.of_spot[starts[t] : starts[t + 1]].astype(self.dtype)
        out = np.zeros(frame.shape, self.dtype)
        inside = frame > 0
        out[inside] = ids[np.searchsorted(known, frame[inside].astype(np.int64))]
        return out

    def table(self) -> pd.DataFrame:
        """Return one row per track: ``label``, ``parent`` (0 for none), ``first_frame``, ``last_frame``, ``area``."""
        import pandas as pd

        tracks = self.tracks
        ids = np.arange(1, tracks.count + 1)
        area = np.bincount(tracks.of_spot, self.spots.area, minlength=tracks.count + 1)[1:].astype(np.int64)
        parents = [tracks.parents.get(label, 0) for label in ids.tolist()]
        known = {"label": ids, "parent": parents, "first_frame": tracks.first, "last_frame": tracks.last, "area": area}
        return pd.DataFrame(known)

    def labels(self) -> NDArray[np.unsignedinteger[Any]]:
        """Return the whole label image with the ids of the tracks."""
        out = np.zeros(self.shape, self.dtype)
        write_frames(out, self.axes, film_frames(self, self.axes))
        return out


def track_film(
    labels: Any,
    axes: str,
    spacing: Mapping[str, float],
    rule: TrackRule,
    kinds_of: Callable[[Spots], NDArray[Any]] | None = None,
    poll: Callable[[float], None] = lambda _share: None,
) -> TrackedFilm:
    """Track the objects of a label image along time.

    Parameters
    ----------
    labels : array
        NumPy or lazy array of integers. Ids need not be consistent between frames.
    axes : str
        A letter of ``TZYX`` for each axis.
    spacing : mapping of str to float
        Size of a pixel along each axis.
    rule : TrackRule
        The rule for linking objects.
    kinds_of : callable, optional
        Takes the spots and returns the class of each object.
    poll : callable
        Called once per frame with the share that is done. It may raise to stop the work.

    Raises
    ------
    AxesError
        If there is no axis T, or an axis other than T, Z, Y and X.
    """
    check_film(axes, tuple(labels.shape))
    count = max(int(labels.shape[axes.index("T")]), 1)
    spots = find_spots(film_frames(labels, axes), lambda t: poll(t / count / 2))
    kinds = None if kinds_of is None else kinds_of(spots)
    tracks = track_spots(spots, frame_pixel(axes, spacing), rule, kinds, lambda t: poll(0.5 + t / count / 2))
    return TrackedFilm(labels, axes, spots, tracks)

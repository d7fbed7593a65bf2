"""Tracks of existing labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from napari_foundseg.core.axes import checked_axes
from napari_foundseg.core.errors import AxesError, DTypeError
from napari_foundseg.core.films.film_frames import check_film
from napari_foundseg.core.films.track_labels import TrackedFilm, track_film
from napari_foundseg.core.films.tracking import TrackRule
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.tracks.ctc_reader import is_ctc_folder, read_ctc
from napari_foundseg.tasks.settings import Progress, Settings, ignore_progress
from napari_foundseg.tasks.tracks.tracked import track_record, track_segmentation, with_track_columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FilmLabels", "TrackSettings", "film_labels", "track", "tracked_film", "tracked_result"]


class TrackSettings(Settings):
    """Overlap, distance and size: all objects of a frame are linked at once, with divisions and short gaps."""

    method: Literal["overlap and distance"] = "overlap and distance"
    max_movement: float | None = Field(None, gt=0, title="Maximum movement", json_schema_extra={"unit": "pixels"})
    """Maximum distance that an object moves from one frame to the next. Empty: found from the film, and shown."""
    divisions: bool = True
    """Whether an object may divide in two and become the parent of both."""
    max_gap: int = Field(1, ge=0, le=10, title="Maximum gap", json_schema_extra={"unit": "frames"})
    """Maximum number of consecutive frames in which an object may be missing and keep its id."""

    @property
    def rule(self) -> TrackRule:
        """Rule by which objects are linked."""
        return TrackRule(self.max_movement, self.divisions, self.max_gap)


class FilmLabels:
    """A label image with a time axis, NumPy or lazy, and the size of its pixels."""

    def __init__(
        self, data: Any, axes: str, spacing: dict[str, float] | None = None, units: dict[str, str] | None = None
    ) -> None:
        self.data = data
        self.axes = axes
        self.spacing = dict(spacing or {})
        self.units = dict(units or {})
        #: The file that holds it, if any.
        self.source: Path | None = None
        #: Tracks with their parents, if the file has them.
        self.table: pd.DataFrame | None = None
        check_film(axes, tuple(data.shape))
        if np.dtype(data.dtype).kind not in "bui":
            raise DTypeError(
                f"Labels are whole numbers, got {data.dtype}. Convert them, such as labels.round().astype('uint16')."
            )


def film_labels(
    labels: Any,
    axes: str | None = None,
    spacing: dict[str, float] | None = None,
    units: dict[str, str] | None = None,
) -> FilmLabels:
    """Return the label image in an array or a file; without axes, an array is TYX or TZYX."""
    if isinstance(labels, str | Path) and is_ctc_folder(Path(labels)):
        masks, table = read_ctc(Path(labels))
        given = FilmLabels(masks, "TZYX" if len(masks.shape) == 4 else "TYX", spacing, units)
        given.source = Path(labels)
        given.table = table
        return given
    if isinstance(labels, str | Path):
        from napari_foundseg.io.readers import open_stored

        content = open_stored(labels, axes)
        given = FilmLabels(
            content.data,
            checked_axes(content.axes, content.data.shape),
            {**content.spacing, **(spacing or {})},
            {**content.units, **(units or {})},
        )
        given.source = Path(labels)
        return given
    data = labels if hasattr(labels, "shape") and hasattr(labels, "dtype") else np.asarray(labels)
    letters = axes or {3: "TYX", 4: "TZYX"}.get(len(data.shape))
    if letters is None:
        raise AxesError(
            f"The labels have the shape {tuple(data.shape)}; a film is (T, Y, X) or (T, Z, Y, X). Choose a part, or "
            "name its axes."
        )
    return FilmLabels(data, checked_axes(letters, data.shape), spacing, units)


def tracked_film(
    film: FilmLabels, settings: TrackSettings, poll: Callable[[float], None] = lambda _share: None
) -> TrackedFilm:
    """Track the objects of a label image, reading one frame after the other."""
    return track_film(film.data, film.axes, film.spacing, settings.rule, poll=poll)


def tracked_result(film: FilmLabels, found: TrackedFilm, settings: TrackSettings) -> Segmentation:
    """Return the tracks as a result, with labels in memory."""
    labels = found.labels()
    unknown = np.full(found.tracks.count, np.nan)
    table = object_table(labels, film.axes, predicted_iou=unknown, stability_score=unknown)
    told = {
        "task": "track",
        "settings": settings.model_dump(mode="json"),
        "image": {"axes": film.axes, "spacing": film.spacing, "units": film.units, "shape": list(labels.shape)},
        "linked": "T" if "Z" not in film.axes else "ZT",
        "tracking": track_record(found.spots, found.tracks, settings.rule),
    }
    return Segmentation(labels, with_track_columns(table, found.tracks), provenance=told)


def track(
    labels: Any,
    *,
    axes: str | None = None,
    spacing: dict[str, float] | None = None,
    units: dict[str, str] | None = None,
    progress: Progress = ignore_progress,
    **settings: Any,
) -> Segmentation:
    """Track the objects of labels along time.

    All objects of a frame are linked at once to those of the frame before, by distance, overlap and size, and by the
    movement of each track. If an object divides, its track ends. The daughters begin in the next frame, with this track
    as their parent.

    Parameters
    ----------
    labels : array-like of int, or Segmentation, or str or Path
        Objects of each frame, ``(T, Y, X)`` or ``(T, Z, Y, X)``; their ids need not continue from frame to frame. A
        lazy array, a file that can be read in parts, or a folder of the Cell Tracking Challenge is read frame by frame.
        The classes and scores of a `Segmentation` are kept, and only objects of the same class are linked.
    axes : str, optional
        A letter for each axis, such as ``"TYX"`` or ``"YXT"``; by default the axes of the file or the result, and for
        an array ``TYX`` or ``TZYX``.
    spacing : dict of str to float, optional
        Size of a pixel along each axis, such as ``{"Z": 2.0, "Y": 0.5, "X": 0.5}``: distances in volumes depend on it.
    units : dict of str to str, optional
        Unit of each size, such as ``{"Y": "µm", "X": "µm"}``.
    progress : callable
        Called with the share done (0 to 1) and a description of the current step.
    **settings
        Fields of `TrackSettings`: ``max_movement`` in pixels (found by default), ``divisions``, ``max_gap`` in frames.

    Returns
    -------
    Segmentation
        Labels of the same shape, whose ids are tracks from 1, in the order in which they begin. The table has a row for
        each track, with ``parent`` (0 for none), ``first_frame`` and ``last_frame``. ``provenance["tracking"]`` has the
        maximum movement, and counts.

    Raises
    ------
    AxesError
        If there is no axis T, or an axis other than T, Z, Y and X.
    DTypeError
        If the labels are not whole numbers.
    SettingsError
        If a setting is unknown or out of range.
    """
    checked = TrackSettings.parse(settings)

    def poll(share: float) -> None:
        progress(share, "linking frames" if share >= 0.5 else "reading frames")

    if isinstance(labels, Segmentation):
        image = labels.provenance.get("image", {})
        letters = checked_axes(axes or image.get("axes"), labels.labels.shape)
        check_film(letters, labels.labels.shape)
        return track_segmentation(labels, letters, spacing or image.get("spacing", {}), checked.rule, poll)
    film = film_labels(labels, axes, spacing, units)
    return tracked_result(film, tracked_film(film, checked, poll), checked)

"""Results whose objects are tracked along time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.films.spots import Spots
from napari_foundseg.core.films.track_labels import track_film
from napari_foundseg.core.films.tracking import TrackRule, Tracks
from napari_foundseg.core.object_table import named_classes, object_table
from napari_foundseg.core.result import Segmentation

if TYPE_CHECKING:
    import pandas as pd

    from napari_foundseg.tasks.stack_settings import StackSettings

__all__ = ["TRACK_COLUMNS", "track_record", "track_segmentation", "tracked", "with_track_columns"]

#: Columns that the table of tracked objects has in addition to those of every table; the label is the track.
TRACK_COLUMNS = ("parent", "first_frame", "last_frame")
_SCORES = ("predicted_iou", "stability_score")


def tracked(found: Segmentation, axes: str, spacing: Mapping[str, float], settings: StackSettings) -> Segmentation:
    """Return a result with tracks if the settings ask for them; otherwise the result itself."""
    rule = settings.track_rule
    if rule is None:
        return found
    if why := _why_not(axes):
        return replace(found, provenance={**found.provenance, "tracking": {"why_not": why}})
    return track_segmentation(found, axes, spacing, rule)


def track_segmentation(
    found: Segmentation,
    axes: str,
    spacing: Mapping[str, float],
    rule: TrackRule,
    poll: Callable[[float], None] = lambda _share: None,
) -> Segmentation:
    """Track the objects of a result along time.

    The labels of the new result are tracks, in the order in which they begin. Its table has the mean scores of each
    track and `TRACK_COLUMNS`.
    """
    table = found.table.set_index("label")
    film = track_film(
        found.labels, axes, spacing, rule, lambda spots: table["class"].reindex(spots.label).to_numpy(), poll
    )
    spots, tracks = film.spots, film.tracks
    rows = table.reindex(spots.label)
    classes = np.ones(tracks.count, np.int64)
    classes[tracks.of_spot - 1] = rows["class"].to_numpy(np.int64)
    labels = film.labels()
    scores = {name: _means(rows[name].to_numpy(float), tracks) for name in _SCORES}
    new = object_table(labels, axes, classes=classes, **scores)
    if "class_name" in found.table:
        new = named_classes(new, found.classes)
    measured = found.classes.measured(found.semantic, classes) if found.semantic is not None else found.classes
    told = {**found.provenance, "tracking": track_record(spots, tracks, rule)}
    if "classes" in told:
        told["classes"] = measured.to_json()
    return replace(found, pixels=labels, table=with_track_columns(new, tracks), classes=measured, provenance=told)


def with_track_columns(table: pd.DataFrame, tracks: Tracks) -> pd.DataFrame:
    """Return the table of tracks 1 to n with their parents, 0 for none, and their first and last frames."""
    parents = [tracks.parents.get(label, 0) for label in table["label"].tolist()]
    return table.assign(parent=parents, first_frame=tracks.first, last_frame=tracks.last)


def track_record(spots: Spots, tracks: Tracks, rule: TrackRule) -> dict[str, Any]:
    """Return the provenance entry on tracks."""
    return {
        "tracks": tracks.count,
        "frames": spots.frames,
        "divisions": tracks.divisions,
        "gaps": tracks.gaps,
        "longest": int((tracks.last - tracks.first + 1).max(initial=0)),
        "max_movement": round(tracks.max_movement, 3),
        "movement_found": rule.max_movement is None,
    }


def _why_not(axes: str) -> str:
    """Return why the objects of an image cannot be tracked; empty if they can."""
    if "T" not in axes:
        return (
            f"Nothing was tracked: the image has no time axis (its axes are {axes}). Name the axes of a film, such as "
            "TYX."
        )
    if strange := sorted(set(axes) - set("TZYX")):
        return f"Nothing was tracked: besides time, depth, rows and columns there is an axis {', '.join(strange)}."
    return ""


def _means(values: NDArray[np.float64], tracks: Tracks) -> NDArray[np.float64]:
    """Return the mean of the values of each track's objects, (n,)."""
    counts = np.bincount(tracks.of_spot - 1, minlength=tracks.count)
    return np.bincount(tracks.of_spot - 1, values, minlength=tracks.count) / np.maximum(counts, 1)

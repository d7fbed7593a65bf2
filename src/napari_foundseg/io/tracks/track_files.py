"""Write tracks to files. The name decides: ``.geff``, or a folder with a result of the Cell Tracking Challenge."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.axes import checked_axes
from napari_foundseg.core.errors import KeptError, OutputError
from napari_foundseg.core.films.film_frames import check_film, film_frames, frame_axes
from napari_foundseg.core.films.lineage import lineage_of
from napari_foundseg.core.films.spots import find_spots
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.formats.table import is_folder_name
from napari_foundseg.io.output_paths import check_place, refuse_inputs
from napari_foundseg.io.tracks.ctc_writer import write_ctc
from napari_foundseg.io.tracks.geff_writer import write_geff
from napari_foundseg.io.written_files import note_written, whose_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GEFF_ENDING", "check_tracks_place", "is_tracks_name", "parents_of_table", "replace_tracks", "write_tracks"]

GEFF_ENDING = ".geff"


def is_tracks_name(path: str | Path) -> bool:
    """Tell whether a name is one of tracks: ``.geff``, or a folder without an ending."""
    suffix = Path(path).suffix.lower()
    return suffix == GEFF_ENDING or not suffix


def parents_of_table(table: pd.DataFrame | None) -> dict[int, int]:
    """Return the parent of each track of a table with the columns ``label`` (or ``index``) and ``parent``."""
    if table is None or "parent" not in table:
        return {}
    key = next((name for name in ("label", "track", "index") if name in table), None)
    if key is None:
        return {}
    rows = table[[key, "parent"]].dropna()
    return {int(a): int(b) for a, b in zip(rows[key], rows["parent"], strict=True) if int(b)}


def write_tracks(
    path: str | Path,
    labels: Any,
    parents: Mapping[int, int] | pd.DataFrame | None = None,
    *,
    axes: str | None = None,
    spacing: Mapping[str, float] | None = None,
    units: Mapping[str, str] | None = None,
) -> list[str]:
    """Write labels whose ids are tracks as a GEFF, or as a result of the Cell Tracking Challenge.

    Parameters
    ----------
    path : str or Path
        ``.geff`` makes a GEFF with positions and links. A name without an ending makes a folder in the form of the
        challenge: ``mask000.tif`` and so on, 16 bits, and ``res_track.txt`` with number, first frame, last frame and
        parent of each track.
    labels : Segmentation or array-like of int
        A tracked result, or labels whose ids are tracks, ``(T, Y, X)`` or ``(T, Z, Y, X)``. A lazy array is read one
        frame at a time.
    parents : mapping of int to int or pandas.DataFrame, optional
        The parent of each daughter, or a table with the columns ``label`` and ``parent``. By default, those of a
        `Segmentation`.
    axes : str, optional
        Such as ``"TYX"``, as for `track`.
    spacing, units : mapping, optional
        Size of a pixel along each axis, and its unit, such as ``{"X": 0.5}`` and ``{"X": "µm"}``.

    Returns
    -------
    list of str
        The differences from the labels, such as a gap that divides a track; empty if there are none.

    Raises
    ------
    AxesError
        If there is no axis T.
    KeptError
        If a file or folder of that name was not written by this package, or was edited since; it is kept.
    OutputError
        If it cannot be written.
    """
    check_tracks_place(path, overwrite=True)
    notes = replace_tracks(path, labels, parents, axes=axes, spacing=spacing, units=units)
    note_written(Path(path))
    return notes


def replace_tracks(
    path: str | Path,
    labels: Any,
    parents: Mapping[int, int] | pd.DataFrame | None = None,
    *,
    axes: str | None = None,
    spacing: Mapping[str, float] | None = None,
    units: Mapping[str, str] | None = None,
) -> list[str]:
    """Write tracks as `write_tracks` does, replacing any file or folder of the name."""
    path = Path(path)
    if not is_tracks_name(path):
        raise OutputError(
            f"{str(path)!r} cannot be written: tracks are saved as {GEFF_ENDING}, or in a folder, whose name has no "
            "ending (Cell Tracking Challenge)."
        )
    if isinstance(labels, Segmentation):
        image = labels.provenance.get("image", {})
        axes = axes or image.get("axes")
        spacing = image.get("spacing", {}) if spacing is None else spacing
        units = image.get("units", {}) if units is None else units
        parents = labels.table if parents is None else parents
        labels = labels.labels
    shape = tuple(labels.shape)
    letters = checked_axes(axes or {3: "TYX", 4: "TZYX"}.get(len(shape)), shape)
    check_film(letters, shape)
    of_child = parents if isinstance(parents, Mapping) else parents_of_table(parents)
    spots = find_spots(film_frames(labels, letters))
    lineage = lineage_of(spots, of_child)
    if path.suffix.lower() == GEFF_ENDING:
        write_geff(path, spots, lineage, frame_axes(letters), spacing or {}, units or {})
        return lineage.notes
    told = write_ctc(path, film_frames(labels, letters), spots.frames, lineage)
    return [*lineage.notes, *([told] if told else [])]


def check_tracks_place(path: str | Path, inputs: Iterable[str | Path] = (), *, overwrite: bool = False) -> None:
    """Check before a run that tracks can be written, and replace no input and no foreign file.

    Raises
    ------
    OutputError
        If they must not or cannot be written. The message has the reason and a remedy.
    """
    path = Path(path)
    refuse_inputs([path], inputs)
    if path.is_symlink():
        raise KeptError(f"{str(path)!r} was kept: it is a link to another place. Remove it, or give another name.")
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        whose = whose_file(path)
        if whose == "ours" and overwrite and path.is_dir() and not is_folder_name(path.name):
            return
        why, what_to_do = {
            "ours": ("these tracks exist already", "Replace them with --overwrite"),
            "edited": ("it was changed after napari-foundseg wrote it", "Move or rename it"),
            "foreign": ("it was not made by napari-foundseg, or not known to be", "Move or rename it"),
        }[whose]
        raise KeptError(f"{str(path)!r} was kept: {why}. {what_to_do}, or give another name.")
    check_place(path)

"""``napari-foundseg track``: tracks of existing labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from napari_foundseg.cli.terminal import console, make_progress, show_line
from napari_foundseg.core.errors import SettingsError

if TYPE_CHECKING:
    import pandas as pd

    from napari_foundseg.tasks.tracks.track import FilmLabels

__all__ = ["track"]


def track(
    labels: Annotated[
        Path,
        typer.Argument(
            help="Labels file with a time axis, or a folder of the Cell Tracking Challenge: the objects of each frame.",
            show_default=False,
        ),
    ],
    out: Annotated[
        list[Path],
        typer.Option(
            help="What to write; may be given several times. A labels file (with the table of tracks beside it), "
            ".geff, or a name without an ending: a folder as the Cell Tracking Challenge wants it."
        ),
    ],
    axes: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it
        typer.Option(help="Axes of the labels, such as TYX. Default: those of the file."),
    ] = None,
    spacing: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help='Size of a pixel along each axis, as JSON, such as {"T": [60, "s"], "X": [0.65, "µm"]}.'),
    ] = None,
    max_movement: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Largest distance an object moves from one frame to the next, in pixels. Default: found from the film."
        ),
    ] = None,
    divisions: Annotated[bool, typer.Option(help="Whether an object may divide into two.")] = True,
    max_gap: Annotated[int, typer.Option(help="In how many frames in a row an object may be missing.")] = 1,
    keep_ids: Annotated[
        bool,
        typer.Option(
            "--keep-ids", help="The ids are tracks already, with parents in the table beside or among them: write them."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier result that was not edited since.")
    ] = False,
) -> None:
    """Track the objects of labels along time, and write the tracks."""
    from rich.progress import Progress

    from napari_foundseg.batch.command_text import spacing_of
    from napari_foundseg.io.tracks.track_files import check_tracks_place, is_tracks_name
    from napari_foundseg.tasks.tracks.track import TrackSettings, film_labels, tracked_film
    from napari_foundseg.tasks.tracks.tracked import track_record
    from napari_foundseg.tasks.tracks.tracks_in_words import tracking_in_words

    settings = TrackSettings.parse({"max_movement": max_movement, "divisions": divisions, "max_gap": max_gap})
    for path in out:
        if is_tracks_name(path):
            check_tracks_place(path, [labels], overwrite=overwrite)
        else:
            _check_labels_place(path, labels, overwrite=overwrite)
    sizes, units = spacing_of(spacing)
    film = film_labels(labels, axes, sizes, units)
    if keep_ids:
        table = _known_parents(labels) if film.table is None else film.table
        for path in out:
            _write(path, film, film.data, table, overwrite=overwrite)
        return
    with Progress(console=console(), transient=True) as bar:
        told = make_progress(bar, "Track objects")
        found = tracked_film(film, settings, lambda share: told(share, "linking" if share >= 0.5 else "reading"))
    for sentence in tracking_in_words(track_record(found.spots, found.tracks, settings.rule)):
        show_line(sentence)
    for path in out:
        _write(path, film, found, found.table(), overwrite=overwrite)


def _check_labels_place(path: Path, labels: Path, *, overwrite: bool) -> None:
    from napari_foundseg.io.formats.table import format_of_labels
    from napari_foundseg.io.naming import table_path
    from napari_foundseg.io.output_paths import check_outputs

    format_of_labels(path)
    check_outputs([path, table_path(path)], [labels], overwrite=overwrite)


def _known_parents(labels: Path) -> pd.DataFrame | None:
    """Return the table next to a labels file, with the parents of tracks."""
    import pandas as pd

    from napari_foundseg.io.naming import table_path

    beside = table_path(labels)
    if not beside.is_file():
        raise SettingsError(
            f"There is no table {beside} with the parents of the tracks. Without --keep-ids, all objects are tracked."
        )
    return pd.read_csv(beside)


def _write(path: Path, film: FilmLabels, pixels: Any, table: pd.DataFrame | None, *, overwrite: bool) -> None:
    """Write tracks to one file or folder. A lazy film is written frame by frame if the format allows it."""
    import numpy as np

    from napari_foundseg.core.films.film_frames import film_frames, write_frames
    from napari_foundseg.io.naming import table_path
    from napari_foundseg.io.tracks.track_files import check_tracks_place, is_tracks_name, write_tracks
    from napari_foundseg.io.writers import write_labels, write_table

    said = ""
    if is_tracks_name(path):
        check_tracks_place(path, overwrite=overwrite)
        notes = write_tracks(path, pixels, table, axes=film.axes, spacing=film.spacing, units=film.units)
        for note in notes:
            show_line(note)
    else:
        whole = np.empty(pixels.shape, pixels.dtype)
        write_frames(whole, film.axes, film_frames(pixels, film.axes))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_labels(path, whole, film.axes, film.spacing, film.units)
        if table is not None:
            write_table(table_path(path), table)
            said = f", {table_path(path)}"
    show_line(f"{path}{said}")

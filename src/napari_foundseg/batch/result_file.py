"""Writing the result of one run like that of a batch: a labels file, its table and its sidecar."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from napari_foundseg.batch.object_measures import measured_table
from napari_foundseg.batch.recipe import Outputs, Recipe, Sources, colour_of, step_of
from napari_foundseg.batch.sidecar import Sidecar, SourceFile, read_sidecar
from napari_foundseg.core.errors import KeptError, OutputError
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.atomic import named_errors
from napari_foundseg.io.files.file_group import writing_together
from napari_foundseg.io.formats.table import format_of_labels
from napari_foundseg.io.naming import DEFAULT_LABEL_ENDING, join_name, sidecar_path, split_inside, stem_of
from napari_foundseg.io.output_paths import check_outputs, free_path, refuse_inputs, refuse_kept
from napari_foundseg.io.writers import replace_labels, replace_table
from napari_foundseg.io.written_files import hash_file, note_written

if TYPE_CHECKING:
    pass

__all__ = ["check_result", "write_replay", "write_result"]

_TABLE_ENDING = ".csv"


def check_result(
    out: Path, table: Path | None = None, inputs: Iterable[Path] = (), axes: str = "YX", *, overwrite: bool = False
) -> None:
    """Check, before a run, that its files can be written; raise an OutputError that says what to do.

    `axes` are those of the labels. Before they are read from the image, Y and X suffice: every image has them.
    """
    inputs = list(inputs)
    format_of_labels(out, axes)
    if table is not None and table.suffix.lower() != _TABLE_ENDING:
        raise OutputError(f"{str(table)!r} cannot be written: tables are saved as {_TABLE_ENDING}.")
    given = [path for path in (out, table) if path is not None]
    check_outputs(given, inputs, overwrite=overwrite)
    sidecar = sidecar_path(out)
    # The sidecar is replaced together with its labels.
    refuse_inputs([sidecar], inputs)
    _known(sidecar, given, overwrite=overwrite)


def write_result(
    out: Path,
    image: Image,
    result: Segmentation,
    table: Path | None = None,
    *,
    measure: bool = False,
    overwrite: bool = True,
) -> None:
    """Write labels, their table (with measurements if `measure`) and their sidecar; missing folders are made.

    Raises
    ------
    OutputError
        If the labels or the table cannot be written in that format, or if the user put a file there during the run.
        They are then written under another name, which the message gives.
    """
    assert image.source is not None
    labels, moved = _place_of_labels(out, result.labels, image.label_axes, overwrite=overwrite)
    rows = None
    written = [labels]
    if table is not None:
        rows = measured_table(result.table, result.labels, image) if measure else result.table
        there, words = _place_of_table(table, overwrite=overwrite)
        if there.parent != labels.parent:
            replace_table(there, rows)
        written.append(there)
        moved += words
    beside = [path for path in written if path.parent == labels.parent]
    with writing_together(labels) as stage:
        replace_labels(stage / labels.name, result.labels, image.label_axes, image.spacing, image.units)
        if rows is not None and len(beside) > 1:
            replace_table(stage / beside[1].name, rows)
        outputs = {path.name: hash_file(stage / path.name) for path in beside}
        try:
            sidecar = _sidecar_of(image, result, sidecar_path(labels), written, outputs, measure=measure)
            sidecar.write(stage / sidecar_path(labels).name)
        except OutputError as error:
            # Somebody put a file there during the run, so the result is written without a record.
            moved += f"{error} "
    for path in written:
        note_written(path)
    if moved:
        raise OutputError(moved.strip())


def _sidecar_of(
    image: Image,
    result: Segmentation,
    path: Path,
    written: list[Path],
    outputs: dict[str, str],
    *,
    measure: bool,
) -> Sidecar:
    """Return the record of a result, with the hashes of an older one; raise an OutputError if that is not a sidecar."""
    assert image.source is not None
    before = _known(path, written, overwrite=True)
    known = result.provenance
    sources = Sources(
        paths=(image.source,),
        axes=image.axes,
        channels=image.channels or None if image.chooses_channels or not image.is_rgb else None,
        colour=colour_of(image),
        # The normalisation that the model expects, if none was chosen.
        normalisation=known["image"]["normalisation"],
        slab=known["image"].get("slab"),
    )
    return Sidecar(
        state="done",
        input=SourceFile(
            name=image.source,
            sha256=hash_file(Path(image.source)),
            index=None,
            axes=image.axes,
            inside=split_inside(Path(image.source))[1],
        ),
        recipe=Recipe(inputs=sources, steps=(step_of(known),), outputs=Outputs(measure=measure)).digest(),
        models={known["model"]["name"]: known["model"]["sha256"]},
        outputs=outputs,
        previous={name: digest for name, digest in before.items() if name not in outputs},
        objects=len(result),
        steps=(known,),
        times={"compute": known["seconds"]},
    )


def write_replay(out: Path, again: Segmentation, *, overwrite: bool = True) -> None:
    """Write the labels of a replay; raises like `write_result`."""
    seen = again.provenance["image"]
    place, moved = _place_of_labels(out, again.labels, seen["axes"], overwrite=overwrite)
    replace_labels(place, again.labels, seen["axes"], seen["spacing"], seen["units"])
    note_written(place)
    if moved:
        raise OutputError(moved.strip())


def _place_of_labels(out: Path, labels: NDArray[Any], axes: str, *, overwrite: bool = True) -> tuple[Path, str]:
    """Return the path for labels, which differs from `out` if they cannot be written there, and the reason in words."""
    place = out
    words = ""
    try:
        format_of_labels(out, axes, int(labels.max(initial=0)))
        refuse_kept(out, overwrite=overwrite)
    except OutputError as error:
        place = free_path(out.with_name(f"{stem_of(out.name)}{DEFAULT_LABEL_ENDING}"))
        words = f"{error} So that it is not lost, the result is in {str(place)!r}. "
    _make_folder(place)
    return place, words


def _place_of_table(path: Path, *, overwrite: bool) -> tuple[Path, str]:
    """Return the path for a table, which differs from `path` if that must be kept, and the reason in words."""
    place = path
    words = ""
    try:
        refuse_kept(path, overwrite=overwrite)
    except KeptError as error:
        place = free_path(path)
        words = f"{error} So that it is not lost, the table is in {str(place)!r}. "
    _make_folder(place)
    return place, words


def _make_folder(path: Path) -> None:
    with named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)


def _known(sidecar: Path, outputs: Iterable[Path], *, overwrite: bool) -> dict[str, str]:
    """Return the hashes in an older sidecar of files that still exist and are not replaced.

    Raises an OutputError if the file is not a sidecar. Without `overwrite`, raises a KeptError if the record of another
    result would be lost.
    """
    try:
        known = read_sidecar(sidecar)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{str(sidecar)!r} exists and is not a sidecar of this plugin ({error}). Rename it, or write to another "
            "place."
        ) from error
    if known is None:
        return {}
    new = {path.name for path in outputs}
    hashes = {**known.previous, **known.outputs}
    left = {
        name: digest
        for name, digest in hashes.items()
        if name not in new and os.path.lexists(join_name(sidecar.parent, name))
    }
    if not overwrite and (others := [name for name in known.outputs if name in left]):
        raise KeptError(
            f"{str(sidecar)!r} was kept: it says how {others[0]} was made, and would be replaced. Give another name, "
            "or replace it with --overwrite."
        )
    return left

"""Repeating a run from its provenance, and comparing the results."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from napari_foundseg.batch.item_image import hash_image_file, read_item_image
from napari_foundseg.batch.recipe import step_of
from napari_foundseg.batch.recipe_steps import run_steps
from napari_foundseg.batch.run_files import files_of_models
from napari_foundseg.batch.sidecar import Sidecar
from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.contrast import Normalisation
from napari_foundseg.core.errors import BadImageError, ReplayError
from napari_foundseg.core.image import Image
from napari_foundseg.core.pixels.colour import FoundColour
from napari_foundseg.core.pixels.slab import Slab
from napari_foundseg.core.result import Segmentation
from napari_foundseg.engine.safe_calls import safe_beside_window
from napari_foundseg.engine.stages import StageContext
from napari_foundseg.io.files.json_file import read_json
from napari_foundseg.io.formats.table import format_of_labels, label_endings
from napari_foundseg.io.image_listing import images_of
from napari_foundseg.io.layer_files import RUN_PROVENANCE
from napari_foundseg.io.naming import sidecar_path
from napari_foundseg.io.output_paths import check_outputs, find_files
from napari_foundseg.io.readers import read_image, read_stored
from napari_foundseg.io.writers import replace_labels
from napari_foundseg.io.written_files import hash_file
from napari_foundseg.tasks.settings import Progress, ignore_progress

__all__ = ["Comparison", "check_replay", "compare", "replay"]


@dataclass(frozen=True)
class Comparison:
    """Whether a replay equals the result of the run.

    Parameters
    ----------
    equal : bool or None
        None if it cannot be decided, since the labels of the run were changed or removed, or never were in a file.
    words : str
        The comparison in words.
    """

    equal: bool | None
    words: str


@safe_beside_window
def replay(
    source: str | Path | Mapping[str, Any],
    image: Any = None,
    *,
    device: str | None = None,
    progress: Progress = ignore_progress,
) -> Segmentation:
    """Repeat the run that made a result; on the same platform the labels are equal bit for bit.

    Parameters
    ----------
    source : str or Path or mapping
        A labels file with its sidecar in the same folder, the sidecar itself, a JSON file with a provenance, or a
        provenance as a layer stores it in ``metadata["foundseg"]``.
    image : array-like or Image or str or Path, optional
        The image, if its file was moved or if it came from no file.
    device : str, optional
        Device to run on; by default the device of the original run.
    progress : callable
        Called with the share that is done (0 to 1) and a description.

    Returns
    -------
    Segmentation
        Labels and table; its provenance is that of the last step.

    Raises
    ------
    ReplayError
        If there is no provenance, or if it is incomplete.
    BadImageError
        If the image is not the one that the result was made from.
    CheckpointError
        If an installed model has other weights.
    """
    record = _read_record(source)
    steps = [step_of(values) for values in record.steps]
    for step in steps:
        step.model.check()
    picture_again = _image(record, image)
    ran = record.steps[0]["model"]
    with _threads(ran.get("threads")):
        context = StageContext(device or ran.get("device"), progress, bool)
        labels, table, provenance = run_steps(steps, picture_again, context)
    return Segmentation(labels, table, ClassTable.from_json(provenance[-1]["classes"]), provenance[-1])


def compare(source: str | Path | Mapping[str, Any], again: Segmentation) -> Comparison:
    """Compare a replay with the result of the run.

    Parameters
    ----------
    source : str or Path or mapping
        The source that was replayed.
    again : Segmentation
        The return value of `replay`.

    Returns
    -------
    Comparison
        Equal labels, other labels, or nothing to compare with.

    Raises
    ------
    ReplayError
        If there is no provenance.
    """
    record = _read_record(source)
    if record.labels is None or record.sha256 is None:
        return Comparison(None, "There is no labels file to compare with.")
    if record.labels.exists() and hash_file(record.labels) == record.sha256:
        written = read_stored(record.labels).data
        if written.shape == again.labels.shape and np.array_equal(written, again.labels):
            return Comparison(True, f"Equal to {record.labels}.")
        return Comparison(False, f"{record.labels} has other labels.")
    # Equal labels give equal bytes, so the hash also decides if the file no longer exists.
    known = record.steps[0]["image"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, record.labels.name)
        replace_labels(path, again.labels, known["axes"], known["spacing"], known["units"])
        equal = hash_file(path) == record.sha256
    since = f"{record.labels} was changed or removed after the run"
    if equal:
        return Comparison(True, f"Equal to the labels of the run; {since}.")
    return Comparison(None, f"{since}; so the labels cannot be compared.")


def check_replay(source: Path, image: Path | None, out: Path, *, overwrite: bool = False) -> None:
    """Check, before a replay, whether its labels file can be written.

    Parameters
    ----------
    source : Path
        The source to replay.
    image : Path or None
        The image, if the user named one.
    out : Path
        The labels file.
    overwrite : bool
        Whether an earlier result that nobody edited may be replaced.

    Raises
    ------
    OutputError
        If the file must not or cannot be written; the message says why and what to do.
    ReplayError
        If there is no provenance.
    """
    record = _read_record(source)
    known = record.steps[0].get("image", {})
    read = [source, sidecar_path(source), *find_files([image, record.labels, known.get("source")])]
    format_of_labels(out, known.get("axes", "YX"))
    check_outputs([out], [*read, *files_of_models(list(record.steps))], overwrite=overwrite)


@dataclass(frozen=True)
class _RunRecord:
    """The record of a run, read from a file or a provenance."""

    steps: Sequence[Mapping[str, Any]]
    index: tuple[int, ...] | None = None
    axes: str | None = None
    slab: Slab | None = None
    #: Hash of the image's file.
    image: str | None = None
    labels: Path | None = None
    #: Hash of the labels file as the run wrote it.
    sha256: str | None = None


def _read_record(source: str | Path | Mapping[str, Any]) -> _RunRecord:
    if isinstance(source, Mapping):
        return _RunRecord([source.get(RUN_PROVENANCE, source)])
    path = Path(source)
    if path.suffix.lower() != ".json":
        path = sidecar_path(path)
    try:
        content = read_json(path)
    except FileNotFoundError as error:
        raise ReplayError(f"There is no {str(path)!r}, so it is not known how the result was made.") from error
    except (OSError, ValueError) as error:
        raise ReplayError(f"{str(path)!r} cannot be read: {error}. Give a labels file or its JSON file.") from error
    if not isinstance(content, dict):
        raise ReplayError(f"{str(path)!r} holds no provenance. Give a labels file or its JSON file.")
    if "format" not in content:
        step = content.get(RUN_PROVENANCE, content)
        if not isinstance(step, dict) or not {"task", "model", "image"} <= set(step):
            raise ReplayError(f"{str(path)!r} holds no provenance. Give a labels file or its JSON file.")
        return _RunRecord([step])
    try:
        known = Sidecar.model_validate(content)
    except ValidationError as error:
        raise ReplayError(f"{str(path)!r} is damaged, or of a newer napari-foundseg: {error}") from error
    name = next((n for n in known.outputs if n.lower().endswith(label_endings()) and Path(n).name == n), None)
    labels, digest = (path.with_name(name), known.outputs[name]) if name else (None, None)
    return _RunRecord(
        known.steps, known.input.index, known.input.axes, known.input.slab, known.input.sha256, labels, digest
    )


def _image(record: _RunRecord, given: Any) -> Image:
    """Return the image as the run read it; raise a BadImageError if its pixels are not the same."""
    try:
        known = record.steps[0]["image"]
        path = known["source"] if given is None else given
        expected = known["fingerprint"]
        found = _opened(record, known, path)
        if found.fingerprint() != expected:
            # Earlier versions read the first image of a file that holds several.
            others = (_opened(record, known, other) for other in _inside(path))
            found = next((image for image in others if image.fingerprint() == expected), found)
    except (KeyError, TypeError, ValidationError) as error:
        raise ReplayError(f"The provenance is incomplete, or of another napari-foundseg: {error}") from error
    if found.fingerprint() != expected:
        raise BadImageError(
            found.source,
            f"this is not the image of the result (fingerprint {found.fingerprint()[:12]}… instead of "
            f"{expected[:12]}…). Give the image that the result was made from",
        )
    return found


def _inside(path: Any) -> tuple[Path, ...]:
    """Return the paths of the images inside a file; empty for arrays."""
    return images_of(Path(path)).all_paths if isinstance(path, str | Path) else ()


def _opened(record: _RunRecord, known: Mapping[str, Any], path: Any) -> Image:
    if path is None:
        raise BadImageError(None, "the image of this run came from no file. Give the image")
    channels = tuple(known["channels"]) or None
    normalisation = TypeAdapter(Normalisation).validate_python(known["normalisation"])
    if isinstance(path, str | Path):
        if record.image is not None and hash_image_file(Path(path)) != record.image:
            raise BadImageError(path, "this is not the file that the result was made from. Give that one")
        if record.index is not None:
            found = read_item_image(Path(path), record.axes, channels, normalisation, record.index, slab=record.slab)
        else:
            found = read_image(path, record.axes)
    else:
        found = path if isinstance(path, Image) else Image(path, known["array_axes"])
    return replace(
        found,
        axes=known["array_axes"] if len(known["array_axes"]) == len(found.levels[0].shape) else found.axes,
        channels=channels,
        normalisation=normalisation,
        slab=Slab.model_validate(known["slab"]) if "slab" in known else None,
        colour=FoundColour.of_record(known["colour"]) if "colour" in known else None,
        spacing=known["spacing"],
        units=known["units"],
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Compute with as many threads as the run used, since the last digits of sums depend on their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)

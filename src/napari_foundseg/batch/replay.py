"""Doing a run again from what was written down of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from napari_foundseg.batch.item_image import file_digest, picture
from napari_foundseg.batch.recipe import step_of
from napari_foundseg.batch.recipe_steps import run_steps
from napari_foundseg.batch.sidecar import Sidecar, digest_of, sidecar_of
from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.contrast import Normalisation
from napari_foundseg.core.errors import BadImageError, ReplayError
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.engine.stages import StageContext
from napari_foundseg.io.formats.table import label_endings
from napari_foundseg.io.layer_files import RUN_PROVENANCE
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.writers import write_labels
from napari_foundseg.tasks.settings import Progress, ignore_progress

__all__ = ["Comparison", "compare", "replay"]


@dataclass(frozen=True)
class Comparison:
    """How a replay relates to what the run wrote.

    Parameters
    ----------
    equal : bool or None
        None where nothing is left to compare with.
    words : str
        The same for a person.
    """

    equal: bool | None
    words: str


def replay(
    source: str | Path | Mapping[str, Any],
    image: Any = None,
    *,
    device: str | None = None,
    progress: Progress = ignore_progress,
) -> Segmentation:
    """Run again what a result was made with; on the same platform the labels are equal bit for bit.

    Parameters
    ----------
    source : str or Path or mapping
        A labels file with its sidecar beside it, the sidecar, a JSON file of a provenance, or a provenance as a layer
        has it in ``metadata["foundseg"]``.
    image : array-like or Image or str or Path, optional
        The image, where it is not where it was any more, or came from no file.
    device : str, optional
        Where to run; by default where it ran.
    progress : callable
        Told the share done and words.

    Returns
    -------
    Segmentation
        Labels and table; its provenance is that of the last step.

    Raises
    ------
    ReplayError
        If there is no provenance, or not enough of it.
    BadImageError
        If the image is not the one that the result was made of.
    CheckpointError
        If a model here has other weights.
    """
    told = _told(source)
    steps = [step_of(values) for values in told.steps]
    for step in steps:
        step.model.check()
    picture_again = _image(told, image)
    ran = told.steps[0]["model"]
    with _threads(ran.get("threads")):
        context = StageContext(device or ran.get("device"), progress, bool)
        labels, table, provenance = run_steps(steps, picture_again, context)
    return Segmentation(labels, table, ClassTable.from_json(provenance[-1]["classes"]), provenance[-1])


def compare(source: str | Path | Mapping[str, Any], again: Segmentation) -> Comparison:
    """Compare a replay with what the run wrote.

    Parameters
    ----------
    source : str or Path or mapping
        What was replayed.
    again : Segmentation
        What `replay` returned.

    Returns
    -------
    Comparison
        Equal labels, other labels, or nothing to compare with.

    Raises
    ------
    ReplayError
        If there is no provenance.
    """
    told = _told(source)
    if told.labels is None or told.sha256 is None:
        return Comparison(None, "There is no labels file to compare with.")
    if told.labels.exists() and digest_of(told.labels) == told.sha256:
        written = np.asarray(read_image(told.labels).levels[0])
        if written.shape == again.labels.shape and np.array_equal(written, again.labels):
            return Comparison(True, f"Equal to {told.labels}.")
        return Comparison(False, f"{told.labels} has other labels.")
    # Equal labels give equal bytes, so what the run wrote is known though it is not there any more.
    known = told.steps[0]["image"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, told.labels.name)
        write_labels(path, again.labels, known["axes"], known["spacing"], known["units"])
        equal = digest_of(path) == told.sha256
    since = f"{told.labels} was changed or removed since"
    if equal:
        return Comparison(True, f"Equal to what the run wrote; {since}.")
    return Comparison(None, f"{since}; whether the run wrote these labels cannot be told.")


@dataclass(frozen=True)
class _Told:
    """What was written down of a run."""

    steps: Sequence[Mapping[str, Any]]
    index: tuple[int, ...] | None = None
    axes: str | None = None
    #: Hash of the image's file.
    image: str | None = None
    labels: Path | None = None
    #: Hash of the labels as the run wrote them.
    sha256: str | None = None


def _told(source: str | Path | Mapping[str, Any]) -> _Told:
    if isinstance(source, Mapping):
        return _Told([source.get(RUN_PROVENANCE, source)])
    path = Path(source)
    if path.suffix.lower() != ".json":
        path = sidecar_of(path)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ReplayError(f"There is no {str(path)!r}, so nobody knows how the result was made.") from error
    except (OSError, ValueError) as error:
        raise ReplayError(
            f"{str(path)!r} cannot be read: {error}. Give a labels file or the JSON beside it."
        ) from error
    if not isinstance(content, dict):
        raise ReplayError(f"{str(path)!r} holds no provenance. Give a labels file or the JSON beside it.")
    if "format" not in content:
        return _Told([content.get(RUN_PROVENANCE, content)])
    try:
        known = Sidecar.model_validate(content)
    except ValidationError as error:
        raise ReplayError(f"{str(path)!r} is damaged, or of a newer napari-foundseg: {error}") from error
    name = next((n for n in known.outputs if n.lower().endswith(label_endings()) and Path(n).name == n), None)
    labels, digest = (path.with_name(name), known.outputs[name]) if name else (None, None)
    return _Told(known.steps, known.input.index, known.input.axes, known.input.sha256, labels, digest)


def _image(told: _Told, given: Any) -> Image:
    """Return the image as the run saw it, and make sure that it is the same."""
    try:
        known = told.steps[0]["image"]
        image = _opened(told, known, known["source"] if given is None else given)
        expected = known["fingerprint"]
    except (KeyError, TypeError, ValidationError) as error:
        raise ReplayError(f"The provenance is incomplete, or of another napari-foundseg: {error}") from error
    found = image.fingerprint()
    if found != expected:
        raise BadImageError(
            image.source,
            f"the image is not the one that the result was made of (fingerprint {found[:12]}… instead of "
            f"{expected[:12]}…); give that one",
        )
    return image


def _opened(told: _Told, known: Mapping[str, Any], path: Any) -> Image:
    if path is None:
        raise BadImageError(None, "the run was on an image that came from no file: give the image")
    channels = tuple(known["channels"]) or None
    normalisation = TypeAdapter(Normalisation).validate_python(known["normalisation"])
    if isinstance(path, str | Path):
        if told.image is not None and file_digest(Path(path)) != told.image:
            raise BadImageError(path, "this is not the file that the result was made of; give that one")
        if told.index is not None:
            found = picture(Path(path), told.axes, channels, normalisation, told.index)
        else:
            found = read_image(path, told.axes)
    else:
        found = path if isinstance(path, Image) else Image(path, known["array_axes"])
    return replace(
        found,
        axes=known["array_axes"] if len(known["array_axes"]) == len(found.levels[0].shape) else found.axes,
        channels=channels,
        normalisation=normalisation,
        spacing=known["spacing"],
        units=known["units"],
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Compute with as many threads as the run did: the last digits of sums depend on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)

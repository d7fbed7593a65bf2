"""Writes the result of one run as a batch does: a labels file and its sidecar."""

from __future__ import annotations

from pathlib import Path

from napari_foundseg.batch.recipe import Recipe, Sources, step_of
from napari_foundseg.batch.sidecar import Sidecar, SourceFile, hash_file, read_sidecar
from napari_foundseg.core.errors import OutputError
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.naming import sidecar_path
from napari_foundseg.io.writers import write_labels

__all__ = ["check_sidecar", "write_result"]


def check_sidecar(out: Path) -> None:
    """Raise an OutputError if the sidecar of a labels file would replace a file that is not a sidecar."""
    path = sidecar_path(out)
    try:
        read_sidecar(path)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{str(path)!r} exists and is not a sidecar of this plugin ({error}). Rename it, or write to another place."
        ) from error


def write_result(out: Path, image: Image, result: Segmentation) -> None:
    """Write labels and their sidecar; the folder is made."""
    assert image.source is not None
    out.parent.mkdir(parents=True, exist_ok=True)
    write_labels(out, result.labels, image.label_axes, image.spacing, image.units)
    known = result.provenance
    sources = Sources(
        paths=(image.source,), axes=image.axes, channels=image.channels or None, normalisation=image.normalisation
    )
    Sidecar(
        state="done",
        input=SourceFile(name=image.source, sha256=hash_file(Path(image.source)), index=None, axes=image.axes),
        recipe=Recipe(inputs=sources, steps=(step_of(known),)).digest(),
        models={known["model"]["name"]: known["model"]["sha256"]},
        outputs={out.name: hash_file(out)},
        previous={},
        objects=len(result),
        steps=(known,),
        times={"compute": known["seconds"]},
    ).write(sidecar_path(out))

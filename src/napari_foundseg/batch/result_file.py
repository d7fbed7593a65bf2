"""The result of one run as a labels file with its sidecar, as a batch writes it."""

from __future__ import annotations

from pathlib import Path

from napari_foundseg.batch.recipe import Recipe, Sources, step_of
from napari_foundseg.batch.sidecar import Sidecar, SourceFile, digest_of, read_sidecar, sidecar_of
from napari_foundseg.core.errors import OutputError
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.writers import write_labels

__all__ = ["check_sidecar", "write_result"]


def check_sidecar(out: Path) -> None:
    """Make sure that the sidecar of a labels file would replace nobody's file.

    Parameters
    ----------
    out : Path
        The labels file.

    Raises
    ------
    OutputError
        If a file of that name is there and is no sidecar.
    """
    path = sidecar_of(out)
    try:
        read_sidecar(path)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{str(path)!r} is there and is not ours ({error}): rename it, or write elsewhere."
        ) from error


def write_result(out: Path, image: Image, result: Segmentation) -> None:
    """Write labels, and beside them how they were made.

    Parameters
    ----------
    out : Path
        The labels file; its folder is made.
    image : Image
        The image, which comes from a file.
    result : Segmentation
        What a task made of it.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    assert image.source is not None
    out.parent.mkdir(parents=True, exist_ok=True)
    write_labels(out, result.labels, image.label_axes, image.spacing, image.units)
    known = result.provenance
    sources = Sources(
        paths=(image.source,), axes=image.axes, channels=image.channels or None, normalisation=image.normalisation
    )
    Sidecar(
        state="done",
        input=SourceFile(name=image.source, sha256=digest_of(Path(image.source)), index=None, axes=image.axes),
        recipe=Recipe(inputs=sources, steps=(step_of(known),)).digest(),
        models={known["model"]["name"]: known["model"]["sha256"]},
        outputs={out.name: digest_of(out)},
        previous={},
        objects=len(result),
        steps=(known,),
        times={"compute": known["seconds"]},
    ).write(sidecar_of(out))

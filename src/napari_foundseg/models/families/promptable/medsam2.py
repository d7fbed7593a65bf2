"""MedSAM2 (Ma et al. 2025): SAM 2.1 tiny, finetuned on medical images and videos, with a window of 512 × 512 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.families.promptable.sam2 import FIELDS
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.row_options import whole_number
from napari_foundseg.models.sam.sam2_checkpoint import (
    SAM2_PROTOCOLS,
    check_file,
    encoder_options,
    kind_of,
    load_network,
    protocols_of,
)
from napari_foundseg.models.sam.sam2_frames import sam2_model
from napari_foundseg.models.sam.sam2_model import Sam2Model

__all__ = ["FAMILY", "load", "recognise"]

_WINDOW = 512

#: Its files have the same tensors as SAM 2.1, so its rank is lower.
FAMILY = Family(
    rank=34,
    title="MedSAM2",
    protocols=SAM2_PROTOCOLS,
    verified_against="as SAM 2.1, whose network it has",
    packages=(Package("transformers", "5.24"), Package("segment-anything")),
    # As in the authors' recipe: the smallest and largest value of the volume become 0 and 255.
    expects="min to max",
    colours="grey",
)


def load(row: CatalogRow, path: Path, device: str) -> Sam2Model:
    """Load the model of a row; raise CheckpointError if the weights have another layout."""
    window = whole_number(row, "window", _WINDOW, least=64)
    return sam2_model(load_network(path, device, window), row.name, row.key, forgets=True)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, else None.

    MedSAM2 has the same tensors as SAM 2.1, so the name of the file or folder decides, or the user's choice of family.

    Raises CheckpointError if some tensors are missing.
    """
    named = any("medsam2" in part.lower() for part in (found.path.name, found.path.parent.parent.name))
    if kind_of(found) != "sam2" or not (named or found.family == "medsam2"):
        return None
    check_file(found, _WINDOW)
    # A folder of transformers states its window.
    window = found.config.get("image_size", _WINDOW)
    return FIELDS | {
        "title": "MedSAM2",
        "protocols": protocols_of(found),
        "input": "2-D medical images, any dtype",
        "options": encoder_options(found.shapes) | {"window": window},
        "citation": "Ma et al., MedSAM2: Segment Anything in 3D Medical Images and Videos, arXiv 2504.03600, 2025.",
        "assumed": f"It was taken for MedSAM2{' by its name' if named else ''}, which sees {window} pixels along each "
        "side; SAM 2.1 has the same tensors: import that with napari-foundseg models import FILE --family sam2",
    }

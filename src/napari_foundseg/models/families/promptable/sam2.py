"""SAM 2 and SAM 2.1 (Ravi et al. 2024) with Hiera encoders: the published ``.pt`` files, and transformers' folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
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

__all__ = ["FAMILY", "FIELDS", "load", "recognise"]

FAMILY = Family(
    rank=35,
    title="SAM 2, SAM 2.1",
    protocols=SAM2_PROTOCOLS,
    verified_against="the authors' package sam2 1.1.0 and transformers: encoder, decoder and memory, equal within 1e-4",
    packages=(Package("transformers", "5.24"), Package("segment-anything")),
    # The authors' trainer writes objects of these packages.
    pickle_names=("omegaconf", "hydra"),
    expects="as is",
    colours="grey",
)

#: Catalogue fields of all SAM 2 models.
FIELDS: dict[str, Any] = {
    "input": "2-D, any dtype, grey or RGB",
    "citation": "Ravi et al., SAM 2: Segment Anything in Images and Videos, arXiv 2408.00714, 2024.",
}


def load(row: CatalogRow, path: Path, device: str) -> Sam2Model:
    """Load the model of a row; raise CheckpointError if the weights have another layout."""
    return sam2_model(load_network(path, device), row.name, row.key)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, else None; CheckpointError if some are missing."""
    if kind_of(found) != "sam2":
        return None
    check_file(found)
    options = encoder_options(found.shapes)
    fields = FIELDS | {
        "title": f"SAM {options['version']} {options['encoder']}",
        "protocols": protocols_of(found),
        "options": options,
    }
    if options == {"encoder": "tiny", "version": "2.1"}:
        fields["assumed"] = (
            "It was taken for SAM 2.1; MedSAM2 has the same tensors: import that with napari-foundseg models import "
            "FILE --family medsam2"
        )
    return fields

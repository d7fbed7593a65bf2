"""EdgeTAM (Zhou et al. 2025): SAM 2 with a RepViT encoder, for computers without a large GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.families.promptable.sam2 import FIELDS
from napari_foundseg.models.family import Family, Package, WeightsView, installed_version
from napari_foundseg.models.sam.sam2_checkpoint import (
    SAM2_PROTOCOLS,
    check_file,
    kind_of,
    load_network,
    protocols_of,
)
from napari_foundseg.models.sam.sam2_frames import sam2_model
from napari_foundseg.models.sam.sam2_model import Sam2Model

__all__ = ["FAMILY", "load", "recognise"]

FAMILY = Family(
    rank=35,
    title="EdgeTAM",
    protocols=SAM2_PROTOCOLS,
    verified_against="the authors' code and transformers: encoder, decoder and memory, equal within 1e-4",
    packages=(Package("transformers", "5.24"), Package("segment-anything"), Package("timm", "1.0")),
    expects="as is",
    colours="grey",
)


def load(row: CatalogRow, path: Path, device: str) -> Sam2Model:
    """Load the model of a row; raise CheckpointError if the weights have another layout."""
    return sam2_model(load_network(path, device), row.name, row.key)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, else None; CheckpointError if some are missing.

    The encoder needs timm. Without timm the weights are not checked, and the import reports the missing package.
    """
    if kind_of(found) != "edgetam":
        return None
    fields = FIELDS | {
        "title": "EdgeTAM",
        "protocols": protocols_of(found),
        "citation": "Zhou et al., EdgeTAM: On-Device Track Anything Model, CVPR 2025 (arXiv 2501.07256).",
    }
    if installed_version("timm"):
        check_file(found)
    return fields

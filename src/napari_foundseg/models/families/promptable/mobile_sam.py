"""MobileSAM (Zhang et al. 2023): SAM with a TinyViT encoder, which needs a twentieth of the computation of ViT-B."""

from __future__ import annotations

from typing import Any

from napari_foundseg.models.families.promptable.sam_vit import FIELDS, load
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.sam.prompted_masks import SAM_PROTOCOLS
from napari_foundseg.models.sam.sam_checkpoint import built, sam_tensors, size_name

__all__ = ["FAMILY", "load", "recognise"]

FAMILY = Family(
    rank=30,
    title="MobileSAM",
    protocols=SAM_PROTOCOLS,
    verified_against="the authors' own classes, equal within 1.2e-5; in the tests timm: its encoder, within 1e-4; the "
    "rest as SAM",
    packages=(Package("segment-anything"),),
    expects="as is",
    colours="grey",
)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, else None; CheckpointError if some are missing."""
    shapes, decoder = sam_tensors(found.shapes)
    if not shapes or decoder or size_name(shapes) != "TinyViT":
        return None
    built(found.path, shapes, empty=True)
    return FIELDS | {"title": "MobileSAM", "citation": "Zhang et al., Faster Segment Anything, arXiv 2306.14289, 2023."}

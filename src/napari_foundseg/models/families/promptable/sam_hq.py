"""SAM-HQ (Ke et al., NeurIPS 2023): SAM with an additional mask of finer borders.

It is read from its authors' files and from transformers' folders. Its encoders are those of SAM, or TinyViT (Light
HQ-SAM).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.families.promptable.sam_vit import FIELDS
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files.checkpoints import read_tensors
from napari_foundseg.models.sam.prompted_masks import SAM_PROTOCOLS
from napari_foundseg.models.sam.sam_checkpoint import built, is_hq, load_sam, sam_tensors, size_name
from napari_foundseg.models.sam.sam_model import SamModel

if TYPE_CHECKING:
    from segment_anything.modeling import Sam


__all__ = ["FAMILY", "SamHqModel", "load", "recognise"]

FAMILY = Family(
    rank=20,
    title="SAM-HQ",
    protocols=SAM_PROTOCOLS,
    verified_against="the authors' own classes, equal within 9e-6; in the tests their decoder written out, and "
    "transformers with a slip mended, within 1e-4",
    packages=(Package("segment-anything"),),
    expects="as is",
    colours="grey",
)


class SamHqModel(SamModel):
    """A SAM-HQ; implements `Promptable`, `PointGrid` and `FeatureExtractor`."""

    #: Differs from SAM's name, since the embedding also has the finer features.
    preprocessing = "sam-hq with finer features"

    def __init__(self, sam: Sam, name: str, key: str) -> None:
        from napari_foundseg.models.nets.sam.sam_hq import HqEncoder

        sam.image_encoder = HqEncoder(sam.image_encoder, sam.mask_decoder)
        super().__init__(sam, name, key)


def load(row: CatalogRow, path: Path, device: str) -> SamHqModel:
    """Load the model of a row; raise CheckpointError if it has another layout."""
    sam = load_sam(path, sam_tensors(read_tensors(path))[0])
    return SamHqModel(sam.to(device), row.name, row.key)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, else None; CheckpointError if some are missing."""
    shapes, _ = sam_tensors(found.shapes)
    if not is_hq(shapes):
        return None
    size = size_name(shapes)
    built(found.path, shapes, empty=True)
    return FIELDS | {
        "title": "Light HQ-SAM" if size == "TinyViT" else f"SAM-HQ {size}",
        "options": {"encoder": size},
        "citation": "Ke et al., Segment Anything in High Quality, NeurIPS 2023.",
    }

"""SAM 1 with ViT encoders: the published ``.pth`` files, transformers' folders, and finetuned files in their layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files.checkpoints import read_tensors
from napari_foundseg.models.sam.prompted_masks import SAM_PROTOCOLS
from napari_foundseg.models.sam.sam_checkpoint import built, is_hq, load_sam, sam_tensors, size_name
from napari_foundseg.models.sam.sam_model import SamModel

__all__ = ["FAMILY", "FIELDS", "load", "recognise"]

FAMILY = Family(
    rank=30,
    title="SAM",
    protocols=SAM_PROTOCOLS,
    verified_against="segment-anything: encoder, decoder and generator, equal within 1e-4",
    packages=(Package("segment-anything"),),
    # Trainers that are used to finetune SAMs.
    pickle_names=("lightning", "lightning_fabric", "mmcv", "mmengine", "pytorch_lightning"),
    expects="as is",
    colours="grey",
)

#: Catalogue fields of all SAM models.
FIELDS: dict[str, Any] = {
    "input": "2-D, any dtype, grey or RGB",
    "citation": "Kirillov et al., Segment Anything, ICCV 2023.",
}


def load(row: CatalogRow, path: Path, device: str) -> SamModel:
    """Load the model of a row; raise CheckpointError if the file has another layout."""
    sam = load_sam(path, sam_tensors(read_tensors(path))[0])
    return SamModel(sam.to(device), row.name, row.key)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, else None; CheckpointError if some are missing."""
    shapes, decoder = sam_tensors(found.shapes)
    if not shapes or decoder or size_name(shapes) == "TinyViT" or is_hq(shapes):
        return None
    built(found.path, shapes, empty=True)
    return FIELDS | {"title": f"SAM {size_name(shapes)}", "options": {"encoder": size_name(shapes)}}

"""micro-sam (Archit et al., Nature Methods 2025): SAMs for microscopy, here those with an instance decoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.families.promptable.sam_vit import FIELDS
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files.checkpoints import check, read_tensors
from napari_foundseg.models.files.network_bounds import network_outline
from napari_foundseg.models.sam.prompted_masks import SAM_PROTOCOLS
from napari_foundseg.models.sam.sam_checkpoint import built, load_sam, sam_tensors, size_name
from napari_foundseg.models.sam.sam_embedding import SamEmbedding
from napari_foundseg.models.sam.sam_model import SamModel

if TYPE_CHECKING:
    from segment_anything.modeling import Sam
    from torch import nn


__all__ = ["FAMILY", "MicroSamModel", "load", "recognise"]

FAMILY = Family(
    rank=20,
    title="micro-sam",
    protocols=("InstanceDecoding", *SAM_PROTOCOLS),
    verified_against="torch-em's decoder written out, equal within 1e-4; the rest as SAM",
    packages=(Package("segment-anything"),),
    pickle_names=("micro_sam", "torch_em"),
    # As in micro-sam's own `_to_image` and `InstanceSegmentationWithDecoder.generate`.
    expects="min to max",
    defaults={
        "automatic.decoder": {
            "foreground_threshold": 0.5,
            "centre_threshold": 0.5,
            "boundary_threshold": 0.5,
            "seed_smoothing": 1.6,
            "foreground_smoothing": 1.0,
            "min_area": 0,
        },
        # As in micro-sam's `AutomaticPromptGenerator.generate`.
        "automatic.apg": {
            "foreground_threshold": 0.5,
            "centre_threshold": 0.5,
            "boundary_threshold": 0.5,
            "centre_smoothing": 0,
            "pred_iou_thresh": 0,
            "mask_nms_thresh": 0.9,
            "nesting": "larger",
            "min_area": 25,
        },
    },
    colours="grey",
)

_DECODER = "micro-sam's instance decoder"


class MicroSamModel(SamModel):
    """A SAM that also implements `InstanceDecoding`, from the same features that prompts use."""

    def __init__(self, sam: Sam, instance_decoder: nn.Module, name: str, key: str) -> None:
        super().__init__(sam, name, key)
        self.instance_decoder = instance_decoder

    @property
    def maps_window(self) -> int:
        """Largest side, in pixels, of a picture that is decoded without shrinking."""
        return self.window

    def instance_maps(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode a picture and decode its maps, (3, M, N)."""
        return self.maps_of(self.encode(rgb))

    def maps_of(self, embedding: SamEmbedding) -> NDArray[np.float32]:
        """Decode the maps of an encoded picture, (3, M, N)."""
        import torch

        with torch.inference_mode():
            maps = self.instance_decoder(embedding.features)
            maps = self.sam.postprocess_masks(maps, embedding.input_size, embedding.original_size)
        return np.asarray(maps[0].float().cpu().numpy(), np.float32)


def load(row: CatalogRow, path: Path, device: str) -> MicroSamModel:
    """Load the model of a row; raise CheckpointError if the file has another layout."""
    from napari_foundseg.models.nets.sam.unetr import build_unetr

    tensors, of_decoder = sam_tensors(read_tensors(path))
    sam = load_sam(path, tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in of_decoder.items()}
    _check_decoder(path, shapes)
    decoder = build_unetr(shapes)
    decoder.load_state_dict(of_decoder)
    return MicroSamModel(sam.to(device), decoder.to(device), row.name, row.key)


def _check_decoder(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError if tensors of the decoder are missing or have other shapes."""
    from napari_foundseg.models.nets.sam.unetr import build_unetr

    expected = network_outline(path, lambda: build_unetr(shapes), shapes).state_dict()
    check(path, {name: tuple(value.shape) for name, value in expected.items()}, shapes, _DECODER)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights have an instance decoder, else None.

    micro-sam's files without a decoder are recognised as SAM or MobileSAM.

    Raises CheckpointError if tensors are missing, such as the SAM itself.
    """
    shapes, decoder = sam_tensors(found.shapes)
    if decoder and not shapes:
        raise CheckpointError(
            f"{found.path} is {_DECODER} alone. Put it beside the SAM that it belongs to (vit_b_decoder.pt beside "
            "vit_b.pt) and import that, or their folder."
        )
    if not decoder:
        return None
    built(found.path, shapes, empty=True)
    _check_decoder(found.path, decoder)
    return FIELDS | {
        "title": f"micro-sam {size_name(shapes)}",
        "options": {"encoder": size_name(shapes)},
        "citation": "Archit et al., Segment Anything for Microscopy, Nature Methods 22, 579-591, 2025.",
    }

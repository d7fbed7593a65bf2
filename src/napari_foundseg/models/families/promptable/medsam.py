"""MedSAM (Ma et al., Nature Communications 2024): SAM ViT-B finetuned on medical images, with another preprocessing.

The picture is stretched to 1024 × 1024 pixels whatever its shape, and its grey values are scaled to 0 to 1. SAM's mean
and deviation are not used. It was trained on boxes. It predicts one mask, whose probability, not logit, is
interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import PromptError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files.checkpoints import read_tensors
from napari_foundseg.models.protocols.objects import Candidates
from napari_foundseg.models.sam.sam_checkpoint import built, load_sam, sam_tensors
from napari_foundseg.models.sam.sam_embedding import SamEmbedding
from napari_foundseg.models.sam.sam_model import SamModel

if TYPE_CHECKING:
    import torch

    from napari_foundseg.core.prompts import Prompt

__all__ = ["FAMILY", "MedSamModel", "load", "recognise"]

#: Its files have the same tensors as SAM's, so its rank is lower than SAM's.
FAMILY = Family(
    rank=25,
    title="MedSAM",
    protocols=("Promptable",),
    verified_against="the authors' recipe on segment-anything, equal within 1e-4",
    packages=(Package("segment-anything"),),
    expects="as is",
    colours="grey",
)


class MedSamModel(SamModel):
    """A SAM with MedSAM's preprocessing; implements `Promptable`, but only for boxes."""

    preprocessing = "medsam"

    def _encoded(self, rgb: NDArray[np.uint8]) -> SamEmbedding:
        """Encode a picture, stretched to the square window."""
        import torch

        with torch.inference_mode():
            picture = torch.as_tensor(stretched(rgb, self.window), device=self.device).movedim(-1, 0)[None]
            features = self.sam.image_encoder(picture)
        return SamEmbedding(features, (rgb.shape[0], rgb.shape[1]), (self.window, self.window))

    def decode(
        self,
        embedding: SamEmbedding,
        prompts: Sequence[Prompt],
        *,
        multimask: bool = False,  # noqa: ARG002 - MedSAM has one mask, whatever is asked for
        one_by_one: bool = False,  # noqa: ARG002 - of no meaning for boxes
    ) -> list[Candidates]:
        """Decode boxes in an encoded picture; raise PromptError if a prompt is not a box."""
        if any(prompt.box is None or prompt.points or prompt.mask is not None for prompt in prompts):
            raise PromptError(f"{self.name} knows boxes only; draw a rectangle around the object, or choose a SAM.")
        return super().decode(embedding, prompts, multimask=False, one_by_one=False)

    def _enlarged(self, logits: torch.Tensor, embedding: SamEmbedding) -> torch.Tensor:
        from torch.nn import functional

        size = embedding.original_size
        return functional.interpolate(logits.sigmoid(), size, mode="bilinear", align_corners=False).logit(1e-6)


def stretched(rgb: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Prepare a picture for MedSAM's encoder.

    Parameters
    ----------
    rgb : (M, N, 3) ndarray of uint8
        The picture.
    side : int
        Rows and columns of the result.

    Returns
    -------
    (side, side, 3) ndarray of float32
        Resized by cubic interpolation with anti-aliasing, then scaled so that the values are from 0 to 1.
    """
    from skimage.transform import resize

    # As in the authors' code: the range of values is kept, and values are truncated to whole numbers.
    large = resize(rgb, (side, side), order=3, preserve_range=True, anti_aliasing=True).astype(np.uint8)
    low = int(large.min())
    high = int(large.max())
    normal: NDArray[np.float32] = ((large - low) / np.clip(high - low, 1e-8, None)).astype(np.float32)
    return normal


def load(row: CatalogRow, path: Path, device: str) -> MedSamModel:
    """Load the model of a row; raise CheckpointError if the file has another layout."""
    sam = load_sam(path, sam_tensors(read_tensors(path))[0])
    return MedSamModel(sam.to(device), row.name, row.key)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, else None.

    MedSAM has the same tensors as SAM, so the name of the file or folder decides, or the user's choice of family.

    Raises CheckpointError if some tensors are missing.
    """
    shapes, decoder = sam_tensors(found.shapes)
    named = any("medsam" in part.lower() for part in (found.path.name, found.path.parent.parent.name))
    if not shapes or decoder or not (named or found.family == "medsam"):
        return None
    built(found.path, shapes, empty=True)
    return {
        "title": "MedSAM",
        "input": "2-D medical images; boxes only",
        "citation": "Ma et al., Segment anything in medical images, Nature Communications 15, 654, 2024.",
    }

"""SAM-HQ (Ke et al., NeurIPS 2023): SAM with one more mask, of finer borders, through transformers' folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.sam import SamEmbedding, SamModel
from napari_foundseg.models.sam_vit import FIELDS

if TYPE_CHECKING:
    import torch

    from napari_foundseg.models.importing import Found

__all__ = ["SamHqModel", "load", "recognise"]


class SamHqModel(SamModel):
    """A SAM-HQ that implements `Promptable` and `PointGrid`.

    Parameters
    ----------
    network : transformers.SamHQModel
        The network, on its device, in evaluation mode.
    name : str
        Its name in the catalogue.
    key : str
        Name and hash of the weights.
    """

    preprocessing = "sam-hq"

    def __init__(self, network: Any, name: str, key: str) -> None:
        from segment_anything.modeling import Sam
        from torch import nn

        vision = network.config.vision_config
        # What the reference's predictor and our steps ask of a SAM: its sizes, mean and deviation. It has no weights.
        frame = Sam(nn.Identity(), nn.Identity(), nn.Identity())
        frame.image_encoder.img_size = vision.image_size
        frame.prompt_encoder.mask_input_size = (4 * vision.image_size // vision.patch_size,) * 2
        super().__init__(frame.to(network.device).eval(), name, key)
        self.network = network

    def _encoded(self, rgb: NDArray[np.uint8]) -> SamEmbedding:
        import torch
        from segment_anything.utils.transforms import ResizeLongestSide

        resized = ResizeLongestSide(self.window).apply_image(rgb)
        picture = torch.as_tensor(resized, device=self.device).movedim(-1, 0)[None]
        with torch.inference_mode():
            found = self.network.vision_encoder(pixel_values=self.sam.preprocess(picture))
        # Features and, for the finer mask, those of the first global block, as one tensor.
        features = torch.cat([found.last_hidden_state, found.intermediate_embeddings[0].movedim(-1, 1)], dim=1)
        return SamEmbedding(features, (rgb.shape[0], rgb.shape[1]), (resized.shape[0], resized.shape[1]))

    def _low_resolution(
        self,
        embedding: SamEmbedding,
        coordinates: torch.Tensor | None,
        labels: torch.Tensor | None,
        boxes: torch.Tensor | None,
        masks: torch.Tensor | None,
        *,
        several: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        width = self.network.config.vision_config.output_channels
        found = self.network(
            image_embeddings=embedding.features[:, :width],
            intermediate_embeddings=[embedding.features[:, width:].movedim(1, -1)],
            input_points=None if coordinates is None else coordinates[None].float(),
            input_labels=None if labels is None else labels[None],
            input_boxes=None if boxes is None else boxes[None],
            input_masks=masks,
            multimask_output=several,
        )
        return found.pred_masks[0], found.iou_scores[0]


def load(row: CatalogRow, path: Path, device: str) -> SamHqModel:
    """Load the model.

    Parameters
    ----------
    row : CatalogRow
        Its row.
    path : Path
        The folder.
    device : str
        Where it is to run, as torch writes it.

    Returns
    -------
    SamHqModel
        In evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder has another layout.
    """
    import transformers

    try:
        network: Any = transformers.SamHQModel.from_pretrained(path, local_files_only=True)
    except Exception as error:  # whatever transformers makes of a damaged folder
        raise CheckpointError(f"{path} does not hold a SAM-HQ that transformers can read: {error}") from error
    return SamHqModel(network.to(device).eval(), row.name, f"{row.name}@{row.sha256[:16]}")


def recognise(found: Found) -> dict[str, Any] | None:
    """Tell whether weights are of this family; the authors' own ``.pth`` files are named, but not read.

    Parameters
    ----------
    found : Found
        The file or folder.

    Returns
    -------
    dict or None
        Fields of its row.

    Raises
    ------
    CheckpointError
        If it is a ``.pth`` of SAM-HQ's authors.
    """
    if any(name.endswith("mask_decoder.hf_token.weight") for name in found.shapes):
        raise CheckpointError(
            f"{found.path} is a SAM-HQ in its authors' own layout, which is not read here; get transformers' folder "
            "(hf:syscv-community/sam-hq-vit-base) and import that."
        )
    if found.config.get("model_type") != "sam_hq":
        return None
    return FIELDS | {"title": "SAM-HQ", "citation": "Ke et al., Segment Anything in High Quality, NeurIPS 2023."}

"""SAM-HQ (Ke et al., NeurIPS 2023): SAM with one more mask, of finer borders; transformers' network.

Its weights are read from transformers' folders and from the authors' own ``.pth`` files, whose tensors are the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.checkpoints import read_config, read_tensors
from napari_foundseg.models.sam import SamModel
from napari_foundseg.models.sam_embedding import SamEmbedding
from napari_foundseg.models.sam_layout import DOES_NOT_BUILD, check, from_transformers, odd, sam_tensors, size_name
from napari_foundseg.models.sam_vit import FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from napari_foundseg.models.importing import Found

__all__ = ["SamHqModel", "load", "recognise"]

#: What a folder of transformers says it is.
_MODEL_TYPE = "sam_hq"


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
        A folder of transformers, or a file of the authors.
    device : str
        Where it is to run, as torch writes it.

    Returns
    -------
    SamHqModel
        In evaluation mode.

    Raises
    ------
    CheckpointError
        If it has another layout.
    """
    network = _of_folder(path) if read_config(path).get("model_type") == _MODEL_TYPE else _of_authors(path)
    return SamHqModel(network.to(device).eval(), row.name, f"{row.name}@{row.sha256[:16]}")


def recognise(found: Found) -> dict[str, Any] | None:
    """Tell whether weights are of this family.

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
        If they are, but some are missing, or have an encoder that is not read.
    """
    fields = FIELDS | {"title": "SAM-HQ", "citation": "Ke et al., Segment Anything in High Quality, NeurIPS 2023."}
    if found.config.get("model_type") == _MODEL_TYPE:
        return fields
    shapes, _ = sam_tensors(found.shapes)
    if "mask_decoder.hf_token.weight" not in shapes:
        return None
    _built(found.path, shapes, empty=True)
    size = size_name(shapes)
    return fields | {"title": f"SAM-HQ {size}", "options": {"encoder": size}}


def _of_folder(path: Path) -> Any:
    import transformers

    try:
        return transformers.SamHQModel.from_pretrained(path, local_files_only=True)
    except Exception as error:  # whatever transformers makes of a damaged folder
        raise CheckpointError(f"{path} does not hold a SAM-HQ that transformers can read: {error}") from error


def _of_authors(path: Path) -> Any:
    """Build transformers' network of a file of the authors and fill it."""
    tensors, _ = sam_tensors(read_tensors(path))
    network = _built(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    network.load_state_dict({name: tensors[from_transformers(name)].float() for name in network.state_dict()})
    return network


def _built(path: Path, shapes: Mapping[str, tuple[int, ...]], *, empty: bool = False) -> Any:
    """Build the network that fits the authors' tensors, and check that each of them fits."""
    import torch
    import transformers

    size = size_name(shapes)
    what = f"a SAM-HQ with {size}"
    if size == "TinyViT":
        raise CheckpointError(
            f"{path} is {what} (Light HQ-SAM), which is not read here; get one with a ViT-B, ViT-L or ViT-H encoder."
        )
    try:
        with torch.device("meta" if empty else "cpu"):
            network: Any = transformers.SamHQModel(_config(shapes))
    except DOES_NOT_BUILD as error:
        raise odd(path, what, error) from error
    expected = {from_transformers(name): tuple(value.shape) for name, value in network.state_dict().items()}
    check(path, expected, shapes, what)
    return network


def _config(shapes: Mapping[str, tuple[int, ...]]) -> Any:
    import transformers

    from napari_foundseg.models.nets.sam_build import vit_sizes

    sizes = vit_sizes(shapes)
    vision = transformers.SamHQVisionConfig(
        hidden_size=sizes.width, output_channels=sizes.out, num_hidden_layers=sizes.depth,
        num_attention_heads=sizes.heads, num_channels=sizes.channels, image_size=sizes.picture,
        patch_size=sizes.patch, window_size=sizes.window, global_attn_indexes=list(sizes.whole), mlp_dim=sizes.mlp,
        num_pos_feats=sizes.out // 2,
    )  # fmt: skip
    prompts = transformers.SamHQPromptEncoderConfig(
        hidden_size=sizes.out, image_size=sizes.picture, patch_size=sizes.patch,
        mask_input_channels=shapes["prompt_encoder.mask_downscaling.3.weight"][0],
    )  # fmt: skip
    decoder = transformers.SamHQMaskDecoderConfig(
        hidden_size=sizes.out, mlp_dim=shapes["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0],
        iou_head_hidden_dim=shapes["mask_decoder.iou_prediction_head.layers.0.weight"][0], vit_dim=sizes.width,
    )  # fmt: skip
    return transformers.SamHQConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)

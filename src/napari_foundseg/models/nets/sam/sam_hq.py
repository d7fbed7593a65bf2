"""SAM-HQ's network (Ke et al., NeurIPS 2023), based on `segment_anything`'s: one more token, for finer borders.

The finer features depend on two layers of the encoder and on no prompt. They are therefore computed when a picture is
encoded. transformers' `SamHQModel` (5.24) is not used: it enlarges the picture's features from before the prompt, with
rows and columns exchanged. Its masks therefore differ from those of the authors' network.
"""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import MaskDecoder
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn
from torch.nn import functional as F

from napari_foundseg.models.nets.sam.sam_vit import FastViT
from napari_foundseg.models.nets.sam.tiny_vit import TinyViT

__all__ = ["HqEncoder", "HqMaskDecoder"]

#: Cells of the finer features along the side of a cell of the encoder's features.
_FINER = 4


class HqMaskDecoder(MaskDecoder):  # type: ignore[misc]
    """SAM's mask decoder with SAM-HQ's token, under the authors' names.

    Parameters
    ----------
    vit_dim : int
        Width of the image encoder's early features: of its blocks, or of TinyViT's third stage.
    transformer_dim : int
        Channels of the image encoder's features.
    **others
        Arguments of `MaskDecoder`.
    """

    def __init__(self, *, vit_dim: int, transformer_dim: int, **others: Any) -> None:
        super().__init__(transformer_dim=transformer_dim, **others)
        width = transformer_dim
        small = transformer_dim // 4
        fine = transformer_dim // 8
        self.hf_token = nn.Embedding(1, width)
        self.hf_mlp = MLP(width, width, fine, 3)
        self.compress_vit_feat = _enlarging(vit_dim, width, fine)
        self.embedding_encoder = _enlarging(width, small, fine)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(fine, small, 3, padding=1), LayerNorm2d(small), nn.GELU(), nn.Conv2d(small, fine, 3, padding=1)
        )

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predict the masks of one picture's prompts.

        Parameters
        ----------
        image_embeddings : Tensor, shape (1, C + 2 C, H, W)
            Output of `HqEncoder`.
        image_pe : Tensor, shape (1, C, H, W)
        sparse_prompt_embeddings : Tensor, shape (B, N, C)
        dense_prompt_embeddings : Tensor, shape (B, C, H, W)

        Returns
        -------
        tuple of Tensor, shapes (B, 4, 4 H, 4 W) and (B, 4)
            Logits (the sum of SAM's own masks and the finer mask), and predicted IoU.
        """
        count = len(sparse_prompt_embeddings)
        features, fine = image_embeddings.split([self.transformer_dim, 2 * self.transformer_dim], dim=1)
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight, self.hf_token.weight])
        tokens = torch.cat([tokens.expand(count, -1, -1), sparse_prompt_embeddings], dim=1)
        source = features + dense_prompt_embeddings
        queries, places = self.transformer(source, image_pe.expand_as(source), tokens)
        up = self.output_upscaling(places.transpose(1, 2).reshape(source.shape))
        finer = self.embedding_maskfeature(up) + F.pixel_shuffle(fine, _FINER)
        mlps = enumerate(self.output_hypernetworks_mlps)
        filters = torch.stack([mlp(queries[:, 1 + i]) for i, mlp in mlps], dim=1)
        masks = (filters @ up.flatten(2)).unflatten(2, up.shape[2:])
        more = self.hf_mlp(queries[:, 1 + self.num_mask_tokens])[:, None] @ finer.flatten(2)
        return masks + more.unflatten(2, up.shape[2:]), self.iou_prediction_head(queries[:, 0])


class HqEncoder(nn.Module):
    """SAM's image encoder, and the part of SAM-HQ's decoder that needs no prompt.

    Parameters
    ----------
    encoder : ImageEncoderViT or TinyViT
        The image encoder; used, not copied.
    decoder : HqMaskDecoder
        The mask decoder.
    """

    def __init__(self, encoder: Any, decoder: HqMaskDecoder) -> None:
        super().__init__()
        self.img_size = encoder.img_size
        self._vit = encoder if isinstance(encoder, TinyViT) else FastViT(encoder)
        self._early = decoder.compress_vit_feat
        self._late = decoder.embedding_encoder

    def forward(self, x: Tensor) -> Tensor:
        """Encode pictures.

        Parameters
        ----------
        x : Tensor, shape (B, 3, S, S)
            Normalised and padded, S being `img_size`.

        Returns
        -------
        Tensor, shape (B, 3 C, S / 16, S / 16)
            SAM's features, and the finer ones, pixel-unshuffled.
        """
        features, early = self._vit.with_early(x)
        fine = self._late(features) + self._early(early.permute(0, 3, 1, 2))
        return torch.cat([features, F.pixel_unshuffle(fine, _FINER)], dim=1)


def _enlarging(inside: int, between: int, outside: int) -> nn.Sequential:
    """Return two transposed convolutions of stride 2, as in SAM's decoder."""
    first = nn.ConvTranspose2d(inside, between, 2, 2)
    second = nn.ConvTranspose2d(between, outside, 2, 2)
    return nn.Sequential(first, LayerNorm2d(between), nn.GELU(), second)

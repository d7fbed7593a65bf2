"""TopoLoRA-SAM: a SAM without prompts, with a convolutional adapter on its features and merged LoRA layers."""

from __future__ import annotations

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["TopoLora"]


class _Adapter(nn.Module):
    """A depthwise and two pointwise convolutions; their result is added to the features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dw = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.pw1 = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.pw2 = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, C, H, W) features of the same shape."""
        added: Tensor = self.pw2(functional.gelu(self.norm(self.pw1(self.dw(features)))))
        return features + added


class TopoLora(nn.Module):
    """The network.

    Parameters
    ----------
    sam : Sam
        SAM with the LoRA layers merged into its weights.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam
        self.adapter = _Adapter(sam.image_encoder.neck[0].out_channels)

    @property
    def side(self) -> int:
        """Rows and columns of the encoder's input."""
        return int(self.sam.image_encoder.img_size)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the logits of the foreground.

        Parameters
        ----------
        picture : Tensor, shape (1, 3, M, N)
            RGB, 0 to 255; it is stretched to the encoder's square.

        Returns
        -------
        Tensor, shape (M, N)
            Positive inside.
        """
        square = functional.interpolate(
            picture, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True
        )
        features = self.adapter(self.sam.image_encoder(self.sam.preprocess(square)))
        encoder = self.sam.prompt_encoder
        sparse = torch.empty((1, 0, encoder.embed_dim), device=features.device)
        dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, *features.shape[-2:])
        logits, _ = self.sam.mask_decoder(
            image_embeddings=features,
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        large: Tensor = functional.interpolate(logits, picture.shape[-2:], mode="bilinear", align_corners=False)
        return large[0, 0]

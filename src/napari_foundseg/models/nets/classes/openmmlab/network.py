"""Network of a backbone, an optional neck, and a head, in mmsegmentation's layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from napari_foundseg.models.nets.classes.openmmlab.facts import Facts
from napari_foundseg.models.nets.classes.openmmlab.heads import HEADS, FpnNeck, MlaNeck, head_of
from napari_foundseg.models.nets.classes.openmmlab.parts import Shapes, count_of, resized
from napari_foundseg.models.nets.classes.openmmlab.resnet import ResNet
from napari_foundseg.models.nets.classes.openmmlab.swin import SwinTransformer
from napari_foundseg.models.nets.classes.openmmlab.transformers import MixTransformer, VisionTransformer
from napari_foundseg.models.nets.classes.openmmlab.unet import UNet

__all__ = ["EncoderDecoder", "backbone_of"]

#: Class of each backbone by name, and a tensor that only it has.
_BACKBONES: dict[str, tuple[type[nn.Module], str]] = {
    "resnet": (ResNet, "layer1.0.conv1.weight"),
    "unet": (UNet, "decoder.0.upsample.interp_upsample.1.conv.weight"),
    "vit": (VisionTransformer, "layers.0.ln1.weight"),
    "mit": (MixTransformer, "layers.0.0.projection.weight"),
    "swin": (SwinTransformer, "stages.0.blocks.0.attn.w_msa.relative_position_bias_table"),
}


def backbone_of(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the name of a backbone by the names of its tensors; empty if it is none of these."""
    return next((name for name, (_, mark) in _BACKBONES.items() if mark in shapes), "")


class EncoderDecoder(nn.Module):
    """A network built from the shapes of its tensors, without those that only serve training."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], facts: Facts) -> None:
        super().__init__()
        own = Shapes(shapes)
        backbone, neck, head = (own.within(part) for part in ("backbone", "neck", "decode_head"))
        if "mla.channel_proj.0.conv.weight" in neck:
            layers = count_of(backbone, "layers.")
            quarters = tuple(layers * i // 4 - 1 for i in range(1, 5))
            facts = replace(facts, taken=facts.taken or quarters, class_token=bool(facts.class_token))
        self.backbone = _BACKBONES[backbone_of(backbone)][0](backbone, facts)
        self.neck = (FpnNeck if "fpn_convs.0.conv.weight" in neck else MlaNeck)(neck) if neck else None
        self.decode_head = HEADS[head_of(head)][1](head, facts)
        self.corners = facts.align_corners

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores at the size of the pictures."""
        maps = self.backbone(x)
        maps = maps if self.neck is None else self.neck(maps)
        return resized(self.decode_head(maps), x, corners=self.corners)

"""Networks of `segment_anything` of any size, built from the shapes of a checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from napari_foundseg.models.nets.sam.sam_hq import HqMaskDecoder
from napari_foundseg.models.nets.sam.tiny_vit import TinyViT

__all__ = ["build_encoder", "build_sam"]

_MEAN = [123.675, 116.28, 103.53]
_STD = [58.395, 57.12, 57.375]
Shapes = Mapping[str, tuple[int, ...]]


def build_sam(shapes: Shapes) -> Sam:
    """Build the network that fits a checkpoint.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shapes of its tensors, by `segment_anything`'s names.

    Returns
    -------
    Sam
        In evaluation mode, with random weights.

    Raises
    ------
    KeyError
        If a tensor is missing that determines the network's size; the error names it.
    """
    mobile = "image_encoder.patch_embed.seq.0.c.weight" in shapes
    encoder: nn.Module = TinyViT() if mobile else build_encoder(shapes)
    grid = 64 if mobile else shapes["image_encoder.pos_embed"][1]
    width = shapes["image_encoder.neck.2.weight"][0]
    size = encoder.img_size
    sam = Sam(
        encoder,
        PromptEncoder(width, (grid, grid), (size, size), shapes["prompt_encoder.mask_downscaling.3.weight"][0]),
        _decoder(shapes, width),
        _MEAN,
        _STD,
    )
    return sam.eval()


def _decoder(shapes: Shapes, width: int) -> MaskDecoder:
    prefix = "mask_decoder."
    mlp_dim = shapes[f"{prefix}transformer.layers.0.mlp.lin1.weight"][0]
    sizes = {
        "num_multimask_outputs": shapes[f"{prefix}mask_tokens.weight"][0] - 1,
        "transformer": TwoWayTransformer(depth=2, embedding_dim=width, mlp_dim=mlp_dim, num_heads=8),
        "transformer_dim": width,
        "iou_head_depth": 3,
        "iou_head_hidden_dim": shapes[f"{prefix}iou_prediction_head.layers.0.weight"][0],
    }
    early = shapes.get(f"{prefix}compress_vit_feat.0.weight")
    return MaskDecoder(**sizes) if early is None else HqMaskDecoder(vit_dim=early[0], **sizes)


def build_encoder(shapes: Shapes) -> ImageEncoderViT:
    """Build the image encoder that fits a checkpoint of SAM's layout; raises KeyError as `build_sam` does."""
    prefix = "image_encoder."
    width, channels, patch, _ = shapes[f"{prefix}patch_embed.proj.weight"]
    grid = shapes[f"{prefix}pos_embed"][1]
    blocks = {int(name.split(".")[2]) for name in shapes if name.startswith(f"{prefix}blocks.")}
    tables = {i: shapes[f"{prefix}blocks.{i}.attn.rel_pos_h"] for i in sorted(blocks)}
    whole = tuple(i for i, table in tables.items() if table[0] == 2 * grid - 1)
    windows = [(table[0] + 1) // 2 for i, table in tables.items() if i not in whole]
    return ImageEncoderViT(
        img_size=grid * patch,
        patch_size=patch,
        in_chans=channels,
        embed_dim=width,
        depth=len(blocks),
        num_heads=width // tables[min(tables)][1],
        mlp_ratio=shapes[f"{prefix}blocks.0.mlp.lin1.weight"][0] / width,
        out_chans=shapes[f"{prefix}neck.2.weight"][0],
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=windows[0] if windows else 0,
        global_attn_indexes=whole,
    )

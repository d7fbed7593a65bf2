"""A `segment_anything` network for the shapes of a checkpoint, whatever its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from napari_foundseg.models.nets.tiny_vit import TinyViT

__all__ = ["ViTSizes", "build_sam", "vit_sizes"]

_MEAN, _STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
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
        Naming a tensor without which the network's size is not known.
    """
    mobile = "image_encoder.patch_embed.seq.0.c.weight" in shapes
    encoder: nn.Module = TinyViT() if mobile else _vit(shapes)
    grid = 64 if mobile else shapes["image_encoder.pos_embed"][1]
    width = shapes["image_encoder.neck.2.weight"][0]
    size = encoder.img_size
    decoder = "mask_decoder."
    sam = Sam(
        encoder,
        PromptEncoder(width, (grid, grid), (size, size), shapes["prompt_encoder.mask_downscaling.3.weight"][0]),
        MaskDecoder(
            num_multimask_outputs=shapes[f"{decoder}mask_tokens.weight"][0] - 1,
            transformer=TwoWayTransformer(
                depth=2,
                embedding_dim=width,
                mlp_dim=shapes[f"{decoder}transformer.layers.0.mlp.lin1.weight"][0],
                num_heads=8,
            ),
            transformer_dim=width,
            iou_head_depth=3,
            iou_head_hidden_dim=shapes[f"{decoder}iou_prediction_head.layers.0.weight"][0],
        ),
        _MEAN,
        _STD,
    )
    return sam.eval()


@dataclass(frozen=True)
class ViTSizes:
    """Sizes of a ViT encoder: side of the picture and of a patch, widths, depth, heads, windows."""

    picture: int
    patch: int
    channels: int
    width: int
    depth: int
    heads: int
    mlp: int
    out: int
    window: int
    whole: tuple[int, ...]


def vit_sizes(shapes: Shapes) -> ViTSizes:
    """Read the sizes of a ViT encoder off a checkpoint.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shapes of its tensors, by `segment_anything`'s names.

    Returns
    -------
    ViTSizes
        ``whole`` numbers the blocks that attend to the whole picture.

    Raises
    ------
    KeyError
        Naming a tensor without which a size is not known.
    """
    prefix = "image_encoder."
    width, channels, patch, _ = shapes[f"{prefix}patch_embed.proj.weight"]
    grid = shapes[f"{prefix}pos_embed"][1]
    blocks = {int(name.split(".")[2]) for name in shapes if name.startswith(f"{prefix}blocks.")}
    tables = {i: shapes[f"{prefix}blocks.{i}.attn.rel_pos_h"] for i in sorted(blocks)}
    whole = tuple(i for i, table in tables.items() if table[0] == 2 * grid - 1)
    windows = [(table[0] + 1) // 2 for i, table in tables.items() if i not in whole]
    return ViTSizes(
        picture=grid * patch,
        patch=patch,
        channels=channels,
        width=width,
        depth=len(blocks),
        heads=width // tables[min(tables)][1],
        mlp=shapes[f"{prefix}blocks.0.mlp.lin1.weight"][0],
        out=shapes[f"{prefix}neck.2.weight"][0],
        window=windows[0] if windows else 0,
        whole=whole,
    )


def _vit(shapes: Shapes) -> ImageEncoderViT:
    sizes = vit_sizes(shapes)
    return ImageEncoderViT(
        img_size=sizes.picture,
        patch_size=sizes.patch,
        in_chans=sizes.channels,
        embed_dim=sizes.width,
        depth=sizes.depth,
        num_heads=sizes.heads,
        mlp_ratio=sizes.mlp / sizes.width,
        out_chans=sizes.out,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=sizes.window,
        global_attn_indexes=sizes.whole,
    )

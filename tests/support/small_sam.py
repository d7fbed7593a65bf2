"""SAMs of the published layout that are 128 pixels wide, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import Sam

from napari_foundseg.models.nets.sam.sam_build import build_sam

#: A ViT of the published layout, but 128 pixels wide and with one windowed and one global block.
SMALL = {"width": 32, "grid": 8, "window": 3, "depth": 2, "prompt": 16}


def small_shapes() -> dict[str, tuple[int, ...]]:
    """Return what `build_sam` reads sizes from."""
    width, grid, prompt = SMALL["width"], SMALL["grid"], SMALL["prompt"]
    shapes: dict[str, tuple[int, ...]] = {
        "image_encoder.patch_embed.proj.weight": (width, 3, 16, 16),
        "image_encoder.pos_embed": (1, grid, grid, width),
        "image_encoder.neck.2.weight": (prompt, prompt, 3, 3),
        "image_encoder.blocks.0.mlp.lin1.weight": (64, width),
        "prompt_encoder.mask_downscaling.3.weight": (16, 4, 2, 2),
        "mask_decoder.mask_tokens.weight": (4, prompt),
        "mask_decoder.transformer.layers.0.mlp.lin1.weight": (24, prompt),
        "mask_decoder.iou_prediction_head.layers.0.weight": (20, prompt),
    }
    for block, side in enumerate((SMALL["window"], grid)):
        shapes[f"image_encoder.blocks.{block}.attn.rel_pos_h"] = (2 * side - 1, width // 4)
    return shapes


def randomised(network: torch.nn.Module, seed: int = 0) -> Any:
    """Give every tensor random values of a lively size, those that start as zeros too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * (0.5 if value.ndim < 2 else 0.2))
                if name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
                    value.abs_().add_(0.5)
    return network


def small_sam() -> Sam:
    """Return the network, with random weights."""
    return randomised(build_sam(small_shapes()))

"""SAM 2 and EdgeTAM with few weights, the same ones in every process; this module imports nothing of the package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

LAYOUTS = Path(__file__).parents[1] / "data" / "layouts"
#: Of a small Hiera: width, blocks of each stage, heads, blocks of global attention, windows.
WIDTH = 16
BLOCKS = (1, 1, 2, 1)
HEADS = 1
GLOBAL = (3,)
WINDOWS = (8, 4, 14, 7)
#: Side in pixels of what the small network sees.
WINDOW = 128
#: Of EdgeTAM's network of the published size: the least that its perceiver allows.
EDGETAM_WINDOW = 256


def layout(name: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a published file."""
    content = json.loads((LAYOUTS / f"{name}.json").read_text("utf-8"))
    return {key: tuple(shape) for key, shape in content.items()}


def small_layout(width: int = WIDTH, blocks: tuple[int, ...] = BLOCKS, background: int = 7) -> dict[str, Any]:
    """Return names and shapes of SAM 2.1 with another Hiera, without the ``model.`` before them."""
    published = {name.removeprefix("model."): shape for name, shape in layout("sam2.1-hiera-tiny").items()}
    trunk = "image_encoder.trunk."
    shapes = {name: shape for name, shape in published.items() if not name.startswith(trunk)}
    widths = [width << stage for stage, count in enumerate(blocks) for _ in range(count)]
    shapes |= {
        f"{trunk}pos_embed": (1, width, background, background),
        f"{trunk}pos_embed_window": (1, width, WINDOWS[0], WINDOWS[0]),
        f"{trunk}patch_embed.proj.weight": (width, 3, 7, 7),
        f"{trunk}patch_embed.proj.bias": (width,),
    }
    before = width
    for block, after in enumerate(widths):
        parts = {"norm1": (before,), "attn.qkv": (3 * after, before), "attn.proj": (after, after), "norm2": (after,),
                 "mlp.layers.0": (4 * after, after), "mlp.layers.1": (after, 4 * after)}  # fmt: skip
        if after != before:
            parts["proj"] = (after, before)
        for part, shape in parts.items():
            shapes[f"{trunk}blocks.{block}.{part}.weight"] = shape
            shapes[f"{trunk}blocks.{block}.{part}.bias"] = shape[:1]
        before = after
    for level in range(4):
        shapes[f"image_encoder.neck.convs.{level}.conv.weight"] = (256, width << (3 - level), 1, 1)
    return shapes


def filled(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Return tensors of these shapes with values of a lively size, equal on all computers."""
    values = np.random.RandomState(seed)
    tensors = {}
    for name in sorted(shapes):
        shape = shapes[name]
        numbers = values.standard_normal(shape).astype(np.float32)
        if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "norm3.weight", "norm4.weight")):
            numbers = 1 + numbers / 10
        elif len(shape) > 1 and "embed" not in name and "token" not in name:
            numbers *= 1.4 / prod(shape[1:]) ** 0.5
        else:
            numbers *= 0.3
        if "output_hypernetworks_mlps" in name and ".layers.2." in name:
            numbers *= 0.1  # so that logits are not all far beyond those of a sure mask
        if name.endswith("pred_obj_score_head.layers.2.bias"):
            numbers += 3  # so that objects are there
        tensors[name] = torch.from_numpy(numbers.reshape(shape))
    return tensors


def edgetam_tensors() -> dict[str, torch.Tensor]:
    """Return tensors of a published EdgeTAM, without the ``model.`` before their names."""
    shapes = {name.removeprefix("model."): shape for name, shape in layout("edgetam").items()}
    counts = {name: torch.tensor(0) for name in shapes if name.endswith("num_batches_tracked")}
    tensors = filled({name: shape for name, shape in shapes.items() if name not in counts})
    for name, values in tensors.items():
        if "running_var" in name or (".bn." in name and name.endswith("weight")):
            values.abs_().add_(0.5)
        elif ".trunk.body." in name and values.ndim == 4:
            # Maps of some millions would make the order of sums decide the masks.
            values.mul_(0.4)
    return tensors | counts


def picture(rows: int, columns: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a picture in colours with a disc that moves with the seed."""
    y, x = np.mgrid[:rows, :columns]
    disc = (y - rows / 2) ** 2 + (x - columns / 3 - 2 * seed) ** 2 < (rows / 5) ** 2
    noise = np.random.RandomState(seed).randint(0, 60, (rows, columns, 3))
    ramp = np.stack([x * 90 // columns, y * 90 // rows, (x + y) * 90 // (rows + columns)], axis=-1)
    return (noise + ramp + disc[..., None] * (100, 60, 20)).astype(np.uint8)


def small_network(kind: str, window: int = WINDOW) -> Any:
    """Return a network of transformers with few weights: ``sam2``, ``sam2_video``, ``edgetam`` or ``edgetam_video``."""
    import transformers

    sides = [[window // stride] * 2 for stride in (4, 8, 16)]
    wide = 128
    hiera = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [window, window],
        "blocks_per_stage": list(BLOCKS), "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2], "global_attention_blocks": list(GLOBAL),
    }  # fmt: skip
    repvit = {
        "model_type": "timm_wrapper", "architecture": "repvit_m1", "num_classes": 1, "label_names": ["none"],
        "model_args": {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    }  # fmt: skip
    vision = {"backbone_feature_sizes": sides, "fpn_hidden_size": wide}
    if kind.startswith("edgetam"):
        vision |= {"model_type": "edgetam_vision_model", "backbone_config": repvit}
    else:
        vision |= {
            "model_type": "sam2_vision_model",
            "backbone_config": hiera,
            "backbone_channel_list": [64, 32, 16, 8],
        }
    settings: dict[str, Any] = {
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": wide, "image_size": window},
        "mask_decoder_config": {
            "hidden_size": wide, "mlp_dim": 24, "iou_head_hidden_dim": wide, "num_attention_heads": 4,
        },
    }  # fmt: skip
    if kind.endswith("video"):
        settings |= {
            "image_size": window, "memory_attention_hidden_size": wide, "memory_attention_num_layers": 2,
            "memory_encoder_hidden_size": wide, "memory_encoder_output_channels": 64, "memory_fuser_embed_dim": wide,
            "memory_fuser_intermediate_dim": wide, "mask_downsampler_embed_dim": wide,
            "memory_attention_rope_feat_sizes": sides[2],
            "memory_attention_feed_forward_hidden_size": wide, "memory_attention_mlp_hidden_size": wide,
        }  # fmt: skip
        if kind.startswith("edgetam"):
            settings |= {
                "perceiver_resampler_hidden_size": 64, "perceiver_resampler_attention_head_dim": 64,
                "perceiver_resampler_num_latents": 4, "perceiver_resampler_num_latents_2d": 16,
                "memory_attention_rope_k_sizes": [4, 4], "perceiver_resampler_mlp_intermediate_size": 16,
                "enable_temporal_pos_encoding_for_object_pointers": False, "enable_occlusion_spatial_embedding": False,
            }  # fmt: skip
        else:
            settings = {k: v for k, v in settings.items() if k != "memory_attention_mlp_hidden_size"}
    config = transformers.CONFIG_MAPPING[kind].from_dict(settings)
    name = {"sam2": "Sam2Model", "sam2_video": "Sam2VideoModel", "edgetam": "EdgeTamModel",
            "edgetam_video": "EdgeTamVideoModel"}[kind]  # fmt: skip
    network = getattr(transformers, name)(config).eval()
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items() if value.is_floating_point()}
    values = filled({key.replace("proj_out", "layers.2"): shape for key, shape in shapes.items()})
    for key in shapes:
        if "running_var" in key or (".bn." in key and key.endswith("weight")):
            values[key].abs_().add_(0.5)
    network.load_state_dict({key: values[key.replace("proj_out", "layers.2")] for key in shapes}, strict=False)
    return network

"""Layouts of SAM 2, SAM 2.1 and EdgeTAM: the places and names of the network's tensors in a published file.

A published ``.pt`` is ``{"model": state_dict}`` with the names of the package ``sam2``; transformers has other names
for the same tensors. Facts that a file does not hold, such as heads and windows of Hiera, are in `HIERAS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import torch

__all__ = [
    "HIERAS",
    "Hiera",
    "Origin",
    "hiera_of",
    "is_edgetam",
    "is_version_2_1",
    "origins",
    "own_tensors",
    "shape_of",
    "tensor_of",
    "video_settings",
]

_T = TypeVar("_T")
#: A tensor that all of these networks have, and no others.
_MARK = "sam_mask_decoder.iou_token.weight"
_TRUNK = "image_encoder.trunk."


class Hiera(NamedTuple):
    """Facts of a Hiera encoder that its tensors do not show."""

    name: str
    heads: int
    """Attention heads of the first stage; each further stage has twice as many."""
    global_blocks: tuple[int, ...]
    windows: tuple[int, ...] = (8, 4, 14, 7)


#: The published encoders by width and blocks of each stage.
HIERAS: dict[tuple[int, tuple[int, ...]], Hiera] = {
    (96, (1, 2, 7, 2)): Hiera("tiny", 1, (5, 7, 9)),
    (96, (1, 2, 11, 2)): Hiera("small", 1, (7, 10, 13)),
    (112, (2, 3, 16, 3)): Hiera("base+", 2, (12, 16, 20)),
    (144, (2, 6, 36, 4)): Hiera("large", 2, (23, 33, 43), (8, 4, 16, 8)),
}
_MLP_OF_3 = r"(iou_prediction_head|pred_obj_score_head|output_hypernetworks_mlps\.\d+|object_pointer_proj)"
_PERCEIVER = r"^(spatial_perceiver\.layers\.\d+)\."
#: From the names of ``sam2`` to those of transformers; all are applied, one after the other.
_RENAMED = [(re.compile(pattern), name) for pattern, name in [
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^image_encoder\.trunk\.body\.", "vision_encoder.backbone.timm_model."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^vision_encoder\.backbone\.patch_embed\.proj\.", "vision_encoder.backbone.patch_embed.projection."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
     "prompt_encoder.shared_embedding.positional_embedding"),
    *((rf"^prompt_encoder\.mask_downscaling\.{number}\.", f"prompt_encoder.mask_embed.{part}.")
      for number, part in enumerate(("conv1", "layer_norm1", "", "conv2", "layer_norm2", "", "conv3")) if part),
    *((rf"^mask_decoder\.output_upscaling\.{number}\.", f"mask_decoder.{part}.")
      for number, part in ((0, "upscale_conv1"), (1, "upscale_layer_norm"), (3, "upscale_conv2"))),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (rf"{_MLP_OF_3}\.layers\.0\.", r"\1.proj_in."),
    (rf"{_MLP_OF_3}\.layers\.2\.", r"\1.proj_out."),
    (rf"{_MLP_OF_3}\.layers\.1\.", r"\1.layers.0."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (r"^((?:vision_encoder\.backbone\.blocks|(?:mask_decoder\.transformer|memory_attention)\.layers)\.\d+)\.norm(\d)\.",
     r"\1.layer_norm\2."),
    (r"^mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
    (r"^(memory_attention|spatial_perceiver)\.norm\.", r"\1.layer_norm."),
    (r"^((?:mask_decoder|memory_attention)\..*attn.*)\.out_proj\.", r"\1.o_proj."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"^(memory_encoder\.memory_fuser\.layers\.\d+)\.gamma$", r"\1.scale"),
    (r"^(memory_encoder\.memory_fuser\.layers\.\d+)\.dwconv\.", r"\1.depthwise_conv."),
    (r"^(memory_encoder\.memory_fuser\.layers\.\d+)\.pwconv(\d)\.", r"\1.pointwise_conv\2."),
    (r"^(memory_encoder\.memory_fuser\.layers\.\d+)\.norm\.", r"\1.layer_norm."),
    *((rf"^memory_encoder\.mask_downsampler\.encoder\.{3 * layer + place}\.",
       f"memory_encoder.mask_downsampler.layers.{layer}.{part}.")
      for layer in range(4) for place, part in enumerate(("conv", "layer_norm"))),
    (r"^memory_encoder\.mask_downsampler\.encoder\.12\.", "memory_encoder.mask_downsampler.final_conv."),
    # Only in EdgeTAM.
    (r"^spatial_perceiver\.latents$", "spatial_perceiver.latents_1d"),
    (rf"{_PERCEIVER}attn\.norm_x\.", r"\1.layer_norm_input."),
    (rf"{_PERCEIVER}attn\.norm_latents\.", r"\1.layer_norm_latents."),
    (rf"{_PERCEIVER}self_attn\.norm\.", r"\1.layer_norm_self."),
    (rf"{_PERCEIVER}attn\.", r"\1.cross_attention."),
    (rf"{_PERCEIVER}self_attn\.", r"\1.self_attention."),
    (rf"{_PERCEIVER}(.*)\.to_q\.", r"\1.\2.q_proj."),
    (rf"{_PERCEIVER}(.*)\.to_out\.", r"\1.\2.o_proj."),
    *((rf"{_PERCEIVER}{theirs}\.{number}\.", rf"\1.{ours}.{part}.")
      for theirs, ours in (("ff", "mlp"), ("self_ff", "self_mlp"))
      for number, part in ((0, "layer_norm"), (1, "up_proj"), (3, "down_proj"))),
]]  # fmt: skip
#: For EdgeTAM only: transformers keeps these names for SAM 2.
_OF_EDGETAM = [(re.compile(pattern), name) for pattern, name in [
    (r"^(memory_attention\.layers\.\d+)\.linear1\.", r"\1.mlp.up_proj."),
    (r"^(memory_attention\.layers\.\d+)\.linear2\.", r"\1.mlp.down_proj."),
]]  # fmt: skip
_POINTS = re.compile(r"^prompt_encoder\.point_embeddings\.(\d)\.weight$")
_TIED = {"prompt_encoder.shared_embedding.positional_embedding": "shared_image_embedding.positional_embedding"}


class Origin(NamedTuple):
    """The tensors of a published file from which a tensor of transformers is made."""

    names: tuple[str, ...]
    """Names of the tensors, concatenated along the first axis."""
    half: int | None = None
    """Which half along the first axis; None for all."""


def own_tensors(tensors: Mapping[str, _T]) -> dict[str, _T]:
    """Return the network's tensors of a published file under the names of ``sam2``.

    The result is empty if the file holds no such network.
    """
    prefix = next((name.removesuffix(_MARK) for name in tensors if name.endswith(_MARK)), None)
    if prefix is None or not any(name.startswith(prefix + _TRUNK) for name in tensors):
        return {}
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def is_edgetam(names: Iterable[str]) -> bool:
    """Return whether the tensors of a published file are EdgeTAM's."""
    return any(name.startswith("spatial_perceiver.") for name in names)


def is_version_2_1(names: Iterable[str]) -> bool:
    """Return whether tensors are SAM 2.1's, not SAM 2.0's.

    Takes the names of ``sam2`` or those of transformers.
    """
    marks = ("obj_ptr_tpos_proj.", "no_obj_embed_spatial", "temporal_positional_encoding_projection_layer.",
             "occlusion_spatial_embedding_parameter")  # fmt: skip
    return any(name.startswith(marks) for name in names)


def hiera_of(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, tuple[int, ...]] | None:
    """Return the width and the blocks of each stage of a Hiera encoder; None if there is none.

    Takes the names of ``sam2`` or those of transformers.
    """
    for trunk, patch in ((_TRUNK, "proj"), ("vision_encoder.backbone.", "projection")):
        blocks = {int(name.split(".")[3]) for name in shapes if re.match(rf"{re.escape(trunk)}blocks\.\d+\.", name)}
        width = shapes.get(f"{trunk}patch_embed.{patch}.weight")
        if width and blocks:
            starts = sorted(block for block in blocks if block and f"{trunk}blocks.{block}.proj.weight" in shapes)
            bounds = [0, *starts, max(blocks) + 1]
            return width[0], tuple(end - start for start, end in pairwise(bounds))
    return None


def origins(names: Iterable[str]) -> dict[str, Origin]:
    """Return the tensors of transformers by name, each with the tensors of a published file that make it."""
    names = list(names)
    rules = [*_RENAMED, *(_OF_EDGETAM if is_edgetam(names) else ())]
    found: dict[str, Origin] = {}
    points: dict[int, str] = {}
    for name in names:
        renamed = name
        for pattern, replacement in rules:
            renamed = pattern.sub(replacement, renamed)
        if point := _POINTS.match(renamed):
            points[int(point[1])] = name
        elif ".to_kv." in renamed:
            found |= {renamed.replace("to_kv", part): Origin((name,), i) for i, part in enumerate(("k_proj", "v_proj"))}
        else:
            found[renamed] = Origin((name,))
    if points:
        found["prompt_encoder.point_embed.weight"] = Origin(tuple(points[i] for i in sorted(points)))
    return found | {copy: found[name] for name, copy in _TIED.items() if name in found}


def shape_of(origin: Origin, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape of a tensor of transformers, from the shapes of a published file."""
    parts = [shapes[name] for name in origin.names]
    if len(parts) == 1 and origin.half is None:
        return tuple(parts[0])
    rows = sum(part[0] for part in parts)
    return (rows // (1 if origin.half is None else 2), *parts[0][1:])


def tensor_of(origin: Origin, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return a tensor of transformers from a published file's; floating-point tensors become float32."""
    import torch

    parts = [tensors[name] for name in origin.names]
    found = parts[0] if len(parts) == 1 else torch.cat(parts)
    found = found if origin.half is None else found.chunk(2)[origin.half]
    return found.float().contiguous() if found.is_floating_point() else found


def video_settings(shapes: Mapping[str, tuple[int, ...]], window: int) -> dict[str, Any]:
    """Return the settings that ``config.json`` of transformers would hold for a published file.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shapes of the result of `own_tensors`: EdgeTAM, or a SAM 2 whose encoder is in `HIERAS`.
    window : int
        Side in pixels of the square that the network sees.
    """
    sides = [window // 4, window // 8, window // 16]
    version_2_1 = is_version_2_1(shapes)
    vision: dict[str, Any] = {"backbone_feature_sizes": [[side, side] for side in sides]}
    settings: dict[str, Any] = {
        "model_type": "sam2_video",
        "image_size": window,
        "prompt_encoder_config": {"image_size": window},
        "memory_attention_rope_feat_sizes": [sides[2], sides[2]],
        "enable_temporal_pos_encoding_for_object_pointers": version_2_1,
        "enable_occlusion_spatial_embedding": version_2_1,
    }
    if is_edgetam(shapes):
        backbone: dict[str, Any] = {
            "model_type": "timm_wrapper",
            "architecture": "repvit_m1",
            "model_args": {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
            # Not used. Without them, transformers would look up the names of ImageNet's classes.
            "label_names": ["none"],
            "num_classes": 1,
        }
        vision |= {"model_type": "edgetam_vision_model", "backbone_config": backbone}
        return settings | {"model_type": "edgetam_video", "vision_config": vision}
    width, blocks = hiera_of(shapes) or (0, ())
    hiera = HIERAS[width, blocks]
    widths = [width << stage for stage in range(len(blocks))]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": width,
        "image_size": [window, window],
        "num_attention_heads": hiera.heads,
        "blocks_per_stage": list(blocks),
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [hiera.heads << stage for stage in range(len(blocks))],
        "window_size_per_stage": list(hiera.windows),
        "global_attention_blocks": list(hiera.global_blocks),
        "window_positional_embedding_background_size": list(shapes[f"{_TRUNK}pos_embed"][2:]),
    }
    vision |= {"model_type": "sam2_vision_model", "backbone_config": backbone, "backbone_channel_list": widths[::-1]}
    return settings | {"vision_config": vision}

"""Layouts of SAM checkpoints: the places and names of the network's tensors in a file.

A published ``.pth`` is the state dict itself. micro-sam's trainer stores it under ``model_state``, others under
``state_dict`` or ``model``. transformers uses other names, which are read without importing transformers. micro-sam's
decoder is the ``decoder_state`` of its trainer's checkpoints; for the published checkpoints it is a separate file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from napari_foundseg.models.files.checked_network import check_network

if TYPE_CHECKING:
    import torch
    from segment_anything.modeling import Sam

__all__ = ["built", "is_hq", "load_sam", "sam_name", "sam_tensors", "size_name"]

_T = TypeVar("_T")
#: Encoders of the published networks by width and depth.
_SIZES = {(768, 12): "ViT-B", (1024, 24): "ViT-L", (1280, 32): "ViT-H"}
#: From transformers' names to segment-anything's.
_FROM_TRANSFORMERS = [(re.compile(pattern), name) for pattern, name in [
    (r"^shared_image_embedding\.positional_embedding$", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^vision_encoder\.patch_embed\.projection", "image_encoder.patch_embed.proj"),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm(\d)", r"image_encoder.blocks.\1.norm\2"),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.neck\.conv1", "image_encoder.neck.0"),
    (r"^vision_encoder\.neck\.layer_norm1", "image_encoder.neck.1"),
    (r"^vision_encoder\.neck\.conv2", "image_encoder.neck.2"),
    (r"^vision_encoder\.neck\.layer_norm2", "image_encoder.neck.3"),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1", "prompt_encoder.mask_downscaling.0"),
    (r"^prompt_encoder\.mask_embed\.layer_norm1", "prompt_encoder.mask_downscaling.1"),
    (r"^prompt_encoder\.mask_embed\.conv2", "prompt_encoder.mask_downscaling.3"),
    (r"^prompt_encoder\.mask_embed\.layer_norm2", "prompt_encoder.mask_downscaling.4"),
    (r"^prompt_encoder\.mask_embed\.conv3", "prompt_encoder.mask_downscaling.6"),
    (r"^mask_decoder\.transformer\.layer_norm_final_attn", "mask_decoder.transformer.norm_final_attn"),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.layer_norm(\d)", r"\1.norm\2"),
    (r"^mask_decoder\.upscale_conv1", "mask_decoder.output_upscaling.0"),
    (r"^mask_decoder\.upscale_layer_norm", "mask_decoder.output_upscaling.1"),
    (r"^mask_decoder\.upscale_conv2", "mask_decoder.output_upscaling.3"),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.proj_in", r"\1.layers.0"),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.0", r"\1.layers.1"),
    (r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.proj_out", r"\1.layers.2"),
    # Only in SAM-HQ.
    (r"^mask_decoder\.hq_token\.", "mask_decoder.hf_token."),
    (r"^mask_decoder\.hq_mask_mlp\.proj_in", "mask_decoder.hf_mlp.layers.0"),
    (r"^mask_decoder\.hq_mask_mlp\.layers\.0", "mask_decoder.hf_mlp.layers.1"),
    (r"^mask_decoder\.hq_mask_mlp\.proj_out", "mask_decoder.hf_mlp.layers.2"),
    *((rf"^mask_decoder\.{theirs}_{part}\.", f"mask_decoder.{ours}.{number}.")
      for theirs, ours in (("compress_vit", "compress_vit_feat"), ("encoder", "embedding_encoder"),
                           ("mask", "embedding_maskfeature"))
      for part, number in (("conv1", 0), ("norm", 1), ("conv2", 3))),
]]  # fmt: skip
#: Tensors that identify micro-sam's decoder in a separate file, and prefixes of all of its tensors.
_DECODER_MARKS = ("base.block.1.weight", "out_conv.weight")
_DECODER_PARTS = ("base.", "decoder.", "deconv", "decoder_head.", "out_conv.")
#: Second copy of a tensor in transformers' files.
_TIED = "prompt_encoder.shared_embedding.positional_embedding"


def sam_tensors(tensors: Mapping[str, _T]) -> tuple[dict[str, _T], dict[str, _T]]:
    """Return a SAM's tensors under segment-anything's names, and the tensors of micro-sam's instance decoder.

    Either is empty if the checkpoint does not have it.
    """
    if any(name.startswith("vision_encoder.layers.") for name in tensors):
        return {sam_name(name): value for name, value in tensors.items() if name != _TIED}, {}
    marks = ("image_encoder.patch_embed.proj.weight", "image_encoder.patch_embed.seq.0.c.weight")
    prefix = next((name[: -len(mark)] for name in tensors for mark in marks if name.endswith(mark)), None)
    if prefix is None:
        return {}, _instance_decoder(tensors)
    parts = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
    sam = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return {name: value for name, value in sam.items() if name.startswith(parts)}, _instance_decoder(tensors)


def _instance_decoder(tensors: Mapping[str, _T]) -> dict[str, _T]:
    """Return the tensors of micro-sam's decoder under its own names.

    They are the ``decoder_state`` of a checkpoint, or a file of their own.
    """
    state = "decoder_state."
    found = {name.removeprefix(state): value for name, value in tensors.items() if name.startswith(state)}
    if found or not set(_DECODER_MARKS) <= tensors.keys():
        return found
    return {name: value for name, value in tensors.items() if name.startswith(_DECODER_PARTS)}


def size_name(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the name of a SAM's encoder by its width and depth, such as ``ViT-B``."""
    if "image_encoder.patch_embed.seq.0.c.weight" in shapes:
        return "TinyViT"
    width = shapes.get("image_encoder.patch_embed.proj.weight", (0,))[0]
    depth = len({name.split(".")[2] for name in shapes if name.startswith("image_encoder.blocks.")})
    return _SIZES.get((width, depth), f"ViT of width {width} and depth {depth}")


def is_hq(shapes: Mapping[str, Any]) -> bool:
    """Return whether a SAM has the additional token of SAM-HQ."""
    return "mask_decoder.hf_token.weight" in shapes


def load_sam(path: Path, tensors: Mapping[str, torch.Tensor]) -> Sam:
    """Return the network of a checkpoint on the CPU, in float32.

    Raises CheckpointError if the tensors do not fit.
    """
    sam = built(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    sam.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return sam


def built(path: Path, shapes: Mapping[str, tuple[int, ...]], *, empty: bool = False) -> Sam:
    """Return a network whose tensors have these shapes, on the meta device if `empty`.

    Raises CheckpointError if no such network exists.
    """
    from napari_foundseg.models.nets.sam.sam_build import build_sam

    what = f"a {'SAM-HQ' if is_hq(shapes) else 'SAM'} with {size_name(shapes)}"
    # Check before memory is allocated: a small file may describe a huge network.
    outline = check_network(path, build_sam, shapes, what)
    return cast("Sam", outline) if empty else build_sam(shapes)


def sam_name(name: str) -> str:
    """Return segment-anything's name for transformers' name of a tensor or module; its own names stay unchanged."""
    for pattern, replacement in _FROM_TRANSFORMERS:
        name, count = pattern.subn(replacement, name)
        if count:
            break
    return name

"""Tensors of Mask2Former's and MaskFormer's own files under the names of transformers.

The authors' names are detectron2's. Where their networks have one tensor for queries, keys and values, transformers has
three.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["by_new_names", "has_deep_stem", "has_encoder", "is_mask2former", "without_old_names"]

_PIXELS = "model.pixel_level_module"
_QUERIES = "model.transformer_module"
_HEAD = "sem_seg_head.pixel_decoder."
_PREDICTOR = "sem_seg_head.predictor."
#: The authors' names with ``#`` for numbers, and those of transformers; ``*`` stands for each of queries, keys and
#: values, which the authors have in one tensor.
_SWIN = {
    "backbone.patch_embed.proj": "embeddings.patch_embeddings.projection",
    "backbone.patch_embed.norm": "embeddings.norm",
    "backbone.layers.#.downsample.reduction": "encoder.layers.#.downsample.reduction",
    "backbone.layers.#.downsample.norm": "encoder.layers.#.downsample.norm",
    **{
        f"backbone.layers.#.blocks.#.{old}": f"encoder.layers.#.blocks.#.{new}"
        for old, new in {
            "norm1": "layernorm_before", "norm2": "layernorm_after", "attn.qkv": "attention.self.*",
            "attn.relative_position_bias_table": "attention.self.relative_position_bias_table",
            "attn.relative_position_index": "attention.self.relative_position_index",
            "attn.proj": "attention.output.dense", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
        }.items()
    },
}  # fmt: skip
_RESNET = {
    "backbone.stem.conv#": "embedder.embedder.#.convolution",
    "backbone.stem.conv#.norm": "embedder.embedder.#.normalization",
    "backbone.res#.#.shortcut": "encoder.stages.#.layers.#.shortcut.convolution",
    "backbone.res#.#.shortcut.norm": "encoder.stages.#.layers.#.shortcut.normalization",
    "backbone.res#.#.conv#": "encoder.stages.#.layers.#.layer.#.convolution",
    "backbone.res#.#.conv#.norm": "encoder.stages.#.layers.#.layer.#.normalization",
}
_MASK2FORMER = {
    **{
        f"{_HEAD}{name}_1{norm}": f"{_PIXELS}.decoder.{name}_1.{place}"
        for name in ("adapter", "layer") for norm, place in (("", 0), (".norm", 1))
    },
    f"{_HEAD}mask_features": f"{_PIXELS}.decoder.mask_projection",
    f"{_HEAD}input_proj.#.#": f"{_PIXELS}.decoder.input_projections.#.#",
    f"{_HEAD}transformer.level_embed": f"{_PIXELS}.decoder.level_embed",
    **{
        f"{_HEAD}transformer.encoder.layers.#.{old}": f"{_PIXELS}.decoder.encoder.layers.#.{new}"
        for old, new in {
            "linear1": "fc1", "linear2": "fc2", "norm1": "self_attn_layer_norm", "norm2": "final_layer_norm",
            **{f"self_attn.{name}": f"self_attn.{name}" for name in
               ("attention_weights", "output_proj", "sampling_offsets", "value_proj")},
        }.items()
    },
    **{
        f"{_PREDICTOR}transformer_{old}": f"{_QUERIES}.decoder.layers.#.{new}"
        for old, new in {
            "self_attention_layers.#.self_attn.in_proj": "self_attn.*_proj",
            "self_attention_layers.#.self_attn.out_proj": "self_attn.out_proj",
            "self_attention_layers.#.norm": "self_attn_layer_norm",
            "cross_attention_layers.#.multihead_attn.in_proj": "cross_attn.in_proj",
            "cross_attention_layers.#.multihead_attn.out_proj": "cross_attn.out_proj",
            "cross_attention_layers.#.norm": "cross_attn_layer_norm",
            "ffn_layers.#.linear1": "fc1", "ffn_layers.#.linear2": "fc2", "ffn_layers.#.norm": "final_layer_norm",
        }.items()
    },
    f"{_PREDICTOR}decoder_norm": f"{_QUERIES}.decoder.layernorm",
    f"{_PREDICTOR}mask_embed.layers.#": f"{_QUERIES}.decoder.mask_predictor.mask_embedder.#.0",
    f"{_PREDICTOR}query_embed": f"{_QUERIES}.queries_embedder",
    f"{_PREDICTOR}query_feat": f"{_QUERIES}.queries_features",
    f"{_PREDICTOR}level_embed": f"{_QUERIES}.level_embed",
    f"{_PREDICTOR}input_proj.#": f"{_QUERIES}.input_projections.#",
    f"{_PREDICTOR}class_embed": "class_predictor",
}  # fmt: skip
_MASKFORMER = {
    f"{_HEAD}mask_features": f"{_PIXELS}.decoder.mask_projection",
    f"{_HEAD}layer_4": f"{_PIXELS}.decoder.fpn.stem.0",
    f"{_HEAD}layer_4.norm": f"{_PIXELS}.decoder.fpn.stem.1",
    **{
        f"{_HEAD}{old}_{3 - i}{norm}": f"{_PIXELS}.decoder.fpn.layers.{i}.{new}.{place}"
        for i in range(3) for old, new in (("adapter", "proj"), ("layer", "block"))
        for norm, place in (("", 0), (".norm", 1))
    },
    # For files whose coarsest map is encoded ("6 Enc"). transformers lacks that; see `parts.Encoded`.
    f"{_HEAD}input_proj": f"{_PIXELS}.encoder.projection",
    **{
        f"{_HEAD}transformer.encoder.layers.#.{old}": f"{_PIXELS}.encoder.blocks.#.{new}"
        for old, new in {
            "self_attn.in_proj": "attention.*", "self_attn.out_proj": "attention.result", "linear1": "inner",
            "linear2": "outer", "norm1": "first_norm", "norm2": "second_norm",
        }.items()
    },
    **{
        f"{_PREDICTOR}transformer.decoder.layers.#.{old}": f"{_QUERIES}.decoder.layers.#.{new}"
        for old, new in {
            "self_attn.in_proj": "self_attn.*_proj", "self_attn.out_proj": "self_attn.out_proj",
            "multihead_attn.in_proj": "encoder_attn.*_proj", "multihead_attn.out_proj": "encoder_attn.out_proj",
            "linear1": "fc1", "linear2": "fc2", "norm1": "self_attn_layer_norm", "norm2": "encoder_attn_layer_norm",
            "norm3": "final_layer_norm",
        }.items()
    },
    f"{_PREDICTOR}transformer.decoder.norm": f"{_QUERIES}.decoder.layernorm",
    f"{_PREDICTOR}query_embed": f"{_QUERIES}.queries_embedder",
    f"{_PREDICTOR}input_proj": f"{_QUERIES}.input_projection",
    f"{_PREDICTOR}mask_embed.layers.#": "mask_embedder.#.0",
    f"{_PREDICTOR}class_embed": "class_predictor",
}  # fmt: skip
_MASK2FORMER_ONLY = f"{_PREDICTOR}transformer_cross_attention_layers.0.norm.weight"
#: Tensors that only serve training, or that are in the configuration.
_LEFT_OUT = re.compile(r"pixel_(mean|std)$|criterion\.|.*\.num_batches_tracked$")
_ENDING = re.compile(r"(.+?)(?:([._])(weight|bias|running_mean|running_var))?")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)|(?<=\.conv)\d|(?<=\.res)\d|(?<=^backbone\.norm)\d")


def is_mask2former(names: Mapping[str, object]) -> bool:
    """Return whether tensors are Mask2Former's, not MaskFormer's."""
    return _MASK2FORMER_ONLY in names


def has_deep_stem(names: Mapping[str, object]) -> bool:
    """Return whether a ResNet begins with three convolutions."""
    return "backbone.stem.conv2.weight" in names


def without_old_names(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors under the authors' current names; their first files had shorter or other names."""
    renamed = {}
    for name, value in tensors.items():
        place, head, rest = name.partition("sem_seg_head.")
        old = head and not place and not rest.startswith(("pixel_decoder.", "predictor."))
        renamed[f"{_HEAD}{rest}" if old else name.replace(".static_query.", ".query_feat.")] = value
    return renamed


def has_encoder(names: Mapping[str, object]) -> bool:
    """Return whether MaskFormer's pixel decoder encodes the coarsest map."""
    return f"{_HEAD}input_proj.weight" in names


def by_new_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names of transformers' network.

    Raises KeyError, which names a tensor, if the network has no place for it.
    """
    mask2former = is_mask2former(tensors)
    backbone = f"{_PIXELS}.encoder{'.backbone' if has_encoder(tensors) else ''}"
    # MaskFormer's Swin is inside another module.
    swin = f"{backbone}.{'' if mask2former else 'model.'}"
    known = {
        **(_MASK2FORMER if mask2former else _MASKFORMER),
        **{old: f"{swin}{new}" for old, new in _SWIN.items()},
        **{old: f"{backbone}.{new}" for old, new in _RESNET.items()},
        **(
            {}
            if has_deep_stem(tensors)
            else {old: f"{backbone}.{_RESNET[old].replace('.#.', '.')}" for old in _RESNET if ".stem." in old}
        ),
        "backbone.norm#": f"{backbone}.hidden_states_norms.{'stage' if mask2former else ''}#",
    }
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if _LEFT_OUT.match(name) or (mask2former and name.endswith("relative_position_index")):
            continue
        match = _ENDING.fullmatch(name)
        assert match is not None
        stem, joint, ending = match.groups()
        new = _numbered(stem, known, mask2former=mask2former)
        if "*" in new:
            words = ("query", "key", "value") if ".self.*" in new else ("q", "k", "v")
            for word, part in zip(words, value.chunk(3), strict=True):
                found[f"{new.replace('*', word)}.{ending}"] = part
        else:
            found[f"{new}{joint or ''}{ending or ''}"] = value
            if ending == "running_var":
                found[f"{new}.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
    if "backbone.norm3.weight" in tensors and not mask2former:
        # The last norm of the Swin, which must have weights although its result is not used.
        found |= {f"{swin}layernorm.{part}": tensors[f"backbone.norm3.{part}"] for part in ("weight", "bias")}
    classes = tensors[f"{_PREDICTOR}class_embed.bias"]
    return {**found, "criterion.empty_weight": torch.ones_like(classes)}


def _numbered(name: str, known: Mapping[str, str], *, mask2former: bool) -> str:
    """Return the new name of a tensor, with its numbers."""
    if name in known:
        return known[name]
    numbers = [int(number) for number in _NUMBER.findall(name)]
    pattern = _NUMBER.sub("#", name)
    new = known.get(pattern)
    if new is None:
        raise KeyError(f"{name} has no place in {'Mask2Former' if mask2former else 'MaskFormer'}")
    if pattern.startswith("backbone.res#"):
        # Stages are counted from 2, and convolutions from 1.
        numbers = [numbers[0] - 2, numbers[1], *(number - 1 for number in numbers[2:])]
    elif pattern.startswith("backbone.stem"):
        numbers[0] -= 1
    elif pattern == "backbone.norm#" and mask2former:
        numbers[0] += 1
    for number in numbers:
        new = new.replace("#", str(number), 1)
    return new

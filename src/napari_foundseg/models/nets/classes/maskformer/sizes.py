"""Configurations of transformers for Mask2Former's and MaskFormer's own files, read from shapes of tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transformers import Mask2FormerConfig, MaskFormerConfig, PretrainedConfig, ResNetConfig, SwinConfig

from napari_foundseg.models.nets.classes.maskformer.names import has_deep_stem, has_encoder, is_mask2former
from napari_foundseg.models.nets.classes.maskformer.parts import ENCODING, STEM, MaskFormerWithParts

__all__ = ["config_of", "kind_of"]

Shapes = Mapping[str, tuple[int, ...]]
#: Heads of attention in all published files, where shapes do not show them.
_HEADS = 8
#: Offsets of one head of deformable attention on a level: 4 points with 2 numbers each.
_OFFSETS = 8
_STAGES: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
_HEAD = "sem_seg_head.pixel_decoder"
_PREDICTOR = "sem_seg_head.predictor"


def kind_of(shapes: Shapes) -> str | type[Any]:
    """Return the name of a class of transformers, or a class of ours if transformers lacks parts of the network."""
    if is_mask2former(shapes):
        return "Mask2FormerForUniversalSegmentation"
    return MaskFormerWithParts if has_deep_stem(shapes) or has_encoder(shapes) else "MaskFormerForInstanceSegmentation"


def config_of(shapes: Shapes) -> PretrainedConfig:
    """Return the configuration of a network.

    Raises KeyError, IndexError or ValueError if tensors are missing or have unexpected shapes.
    """
    backbone = _swin(shapes) if "backbone.patch_embed.proj.weight" in shapes else _resnet(shapes)
    classes = shapes[f"{_PREDICTOR}.class_embed.weight"][0] - 1
    queries, width = shapes[f"{_PREDICTOR}.query_embed.weight"]
    config = _mask2former(shapes, backbone) if is_mask2former(shapes) else _maskformer(shapes, backbone, width, queries)
    config.id2label = dict.fromkeys(range(classes), "")
    config.num_queries = queries
    return config


def _mask2former(shapes: Shapes, backbone: PretrainedConfig) -> Mask2FormerConfig:
    offsets = shapes[f"{_HEAD}.transformer.encoder.layers.0.self_attn.sampling_offsets.bias"][0]
    levels = shapes[f"{_HEAD}.transformer.level_embed"][0]
    if has_deep_stem(shapes):
        raise ValueError("its backbone begins with three convolutions, which no published Mask2Former has")
    return Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=shapes[f"{_HEAD}.adapter_1.weight"][0],
        mask_feature_size=shapes[f"{_HEAD}.mask_features.weight"][0],
        hidden_dim=shapes[f"{_PREDICTOR}.query_embed.weight"][1],
        num_attention_heads=offsets // (levels * _OFFSETS),
        encoder_layers=_count(shapes, f"{_HEAD}.transformer.encoder.layers"),
        encoder_feedforward_dim=shapes[f"{_HEAD}.transformer.encoder.layers.0.linear1.weight"][0],
        # One more than the number of layers, because the queries themselves are decoded too.
        decoder_layers=_count(shapes, f"{_PREDICTOR}.transformer_ffn_layers") + 1,
        dim_feedforward=shapes[f"{_PREDICTOR}.transformer_ffn_layers.0.linear1.weight"][0],
        enforce_input_projection=f"{_PREDICTOR}.input_proj.0.weight" in shapes,
    )


def _maskformer(shapes: Shapes, backbone: PretrainedConfig, width: int, queries: int) -> MaskFormerConfig:
    layers = f"{_PREDICTOR}.transformer.decoder.layers"
    config = MaskFormerConfig(
        backbone_config=backbone,
        fpn_feature_size=shapes[f"{_HEAD}.layer_1.weight"][0],
        mask_feature_size=shapes[f"{_HEAD}.mask_features.weight"][0],
        decoder_config={
            "model_type": "detr", "d_model": width, "num_queries": queries, "decoder_layers": _count(shapes, layers),
            "decoder_ffn_dim": shapes[f"{layers}.0.linear1.weight"][0], "decoder_attention_heads": _HEADS,
        },
    )  # fmt: skip
    if has_deep_stem(shapes):
        setattr(config, STEM, [shapes[f"backbone.stem.conv{i}.weight"][0] for i in (1, 2, 3)])
    if has_encoder(shapes):
        own = f"{_HEAD}.transformer.encoder.layers"
        widths = [shapes[f"{own}.{i}.linear1.weight"][0] for i in range(_count(shapes, own))]
        setattr(config, ENCODING, widths)
    return config


def _swin(shapes: Shapes) -> SwinConfig:
    stages = range(4)
    table = [shapes[f"backbone.layers.{i}.blocks.0.attn.relative_position_bias_table"] for i in stages]
    width = shapes["backbone.patch_embed.proj.weight"][0]
    return SwinConfig(
        patch_size=shapes["backbone.patch_embed.proj.weight"][-1],
        embed_dim=width,
        depths=[_count(shapes, f"backbone.layers.{i}.blocks") for i in stages],
        num_heads=[heads for _, heads in table],
        window_size=(math.isqrt(table[0][0]) + 1) // 2,
        mlp_ratio=shapes["backbone.layers.0.blocks.0.mlp.fc1.bias"][0] / width,
        **_STAGES,
    )


def _resnet(shapes: Shapes) -> ResNetConfig:
    stages = [f"backbone.res{i}" for i in range(2, 6)]
    bottleneck = "backbone.res2.0.conv3.weight" in shapes
    last = "conv3" if bottleneck else "conv2"
    return ResNetConfig(
        embedding_size=shapes[f"backbone.stem.conv{3 if has_deep_stem(shapes) else 1}.weight"][0],
        hidden_sizes=[shapes[f"{stage}.0.{last}.weight"][0] for stage in stages],
        depths=[_count(shapes, stage) for stage in stages],
        layer_type="bottleneck" if bottleneck else "basic",
        **_STAGES,
    )


def _count(shapes: Shapes, name: str) -> int:
    """Return how many numbered parts a list has."""
    return len({key[len(name) + 1 :].partition(".")[0] for key in shapes if key.startswith(f"{name}.")})

"""Mask2Former and MaskFormer as their authors publish them: small networks of transformers, by detectron2's names.

The names are those that transformers' own converters read (version 4.40), followed the other way round.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    ResNetConfig,
    SwinConfig,
)

STAGES = ["stage1", "stage2", "stage3", "stage4"]
SWIN: dict[str, Any] = {"embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [2, 2, 4, 4], "window_size": 3}
RESNET: dict[str, Any] = {
    "embedding_size": 16, "hidden_sizes": [32, 32, 64, 64], "depths": [1, 1, 1, 2], "out_features": STAGES,
}  # fmt: skip


def backbone(kind: str, **changes: Any) -> Any:
    if kind == "swin":
        return SwinConfig(**{**SWIN, "out_features": STAGES, **changes})
    return ResNetConfig(**{**RESNET, **changes})


def mask2former(kind: str = "swin", classes: int = 5, **changes: Any) -> nn.Module:
    """Return a small network with random weights that find more than one class."""
    torch.manual_seed(3)
    sizes: dict[str, Any] = {
        "hidden_dim": 64, "feature_size": 64, "mask_feature_size": 32, "encoder_layers": 2, "decoder_layers": 4,
        "encoder_feedforward_dim": 48, "dim_feedforward": 56, "num_queries": 20, "num_attention_heads": 8,
    }  # fmt: skip
    config = Mask2FormerConfig(backbone_config=backbone(kind), **{**sizes, **changes})
    config.id2label = dict.fromkeys(range(classes), "")
    return lively(Mask2FormerForUniversalSegmentation(config))


def maskformer(kind: str = "swin", classes: int = 5, **changes: Any) -> nn.Module:
    torch.manual_seed(3)
    decoder = {"model_type": "detr", "d_model": 32, "decoder_layers": 2, "decoder_ffn_dim": 56, "num_queries": 20}
    sizes: dict[str, Any] = {"fpn_feature_size": 32, "mask_feature_size": 32, "decoder_config": decoder}
    config = MaskFormerConfig(backbone_config=backbone(kind), **{**sizes, **changes})
    config.id2label = dict.fromkeys(range(classes), "")
    config.num_queries = 20
    return lively(MaskFormerForInstanceSegmentation(config))


def lively(network: nn.Module) -> nn.Module:
    """Spread the weights, so that queries differ in class and mask."""
    generator = torch.Generator().manual_seed(5)
    spread = {"queries": 3.0, "class_predictor": 2.0, "mask_embedder.2": 3.0}
    with torch.no_grad():
        for name, part in network.named_parameters():
            noise = torch.randn(part.shape, generator=generator)
            own = next((value for key, value in spread.items() if key in name), None)
            if own is not None:
                part.copy_(noise * own)
            elif part.ndim > 1:
                part.copy_(noise * 2 / part[0].numel() ** 0.5)
            elif name.endswith("bias"):
                part.copy_(noise * 0.1)
        for name, buffer in network.named_buffers():
            if "running_var" in name:
                buffer += torch.rand(buffer.shape, generator=generator)
    return network.eval()


def authors_names(network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a network by its authors' names."""
    state = {name.removeprefix("model."): value.clone() for name, value in network.state_dict().items()}
    second = isinstance(network, Mask2FormerForUniversalSegmentation)
    found: dict[str, Tensor] = {}

    def take(old: str, new: str, *kinds: str) -> None:
        for kind in kinds or ("weight", "bias"):
            found[f"{new}.{kind}"] = state.pop(f"{old}.{kind}")

    def join(olds: list[str], new: str) -> None:
        for kind in ("weight", "bias"):
            found[f"{new}{kind}"] = torch.cat([state.pop(f"{old}.{kind}") for old in olds])

    encoder = "pixel_level_module.encoder"
    if any("patch_embeddings" in name for name in state):
        _swin(state, encoder, take, join, found, second=second)
    else:
        _resnet(state, encoder, take)
    if f"{encoder}.projection.weight" in state:
        _encoder(state, encoder, take, join)
    _heads(network.config, state, take, join, found, second=second)
    for name in [n for n in state if n.endswith("num_batches_tracked") or ".layernorm." in n or "position_index" in n]:
        state.pop(name)
    found["criterion.empty_weight"] = state.pop("criterion.empty_weight")
    assert not state, f"not written: {list(state)[:5]}"
    return found


def _swin(state: Any, encoder: str, take: Any, join: Any, found: Any, *, second: bool) -> None:
    inside = f"{encoder}.{'swin' if second else 'model'}"
    take(f"{inside}.embeddings.patch_embeddings.projection", "backbone.patch_embed.proj")
    take(f"{inside}.embeddings.norm", "backbone.patch_embed.norm")
    for i, depth in enumerate(SWIN["depths"]):
        for j in range(depth):
            old, new = f"{inside}.encoder.layers.{i}.blocks.{j}", f"backbone.layers.{i}.blocks.{j}"
            take(f"{old}.layernorm_before", f"{new}.norm1")
            take(f"{old}.layernorm_after", f"{new}.norm2")
            if second:
                join([f"{old}.attention.{k}_proj" for k in "qkv"], f"{new}.attn.qkv.")
                take(f"{old}.attention.o_proj", f"{new}.attn.proj")
                take(f"{old}.mlp.fc1", f"{new}.mlp.fc1")
                take(f"{old}.mlp.fc2", f"{new}.mlp.fc2")
                table = f"{old}.attention.relative_position_bias.relative_position_bias_table"
            else:
                join([f"{old}.attention.self.{k}" for k in ("query", "key", "value")], f"{new}.attn.qkv.")
                take(f"{old}.attention.output.dense", f"{new}.attn.proj")
                take(f"{old}.intermediate.dense", f"{new}.mlp.fc1")
                take(f"{old}.output.dense", f"{new}.mlp.fc2")
                table = f"{old}.attention.self.relative_position_bias_table"
            found[f"{new}.attn.relative_position_bias_table"] = state.pop(table)
            side = SWIN["window_size"]
            found[f"{new}.attn.relative_position_index"] = _places(side)
        if i < 3:
            take(
                f"{inside}.encoder.layers.{i}.downsample.reduction",
                f"backbone.layers.{i}.downsample.reduction",
                "weight",
            )
            take(f"{inside}.encoder.layers.{i}.downsample.norm", f"backbone.layers.{i}.downsample.norm")
        own = f"stage{i + 1}" if second else str(i)
        take(f"{encoder}.hidden_states_norms.{own}", f"backbone.norm{i}")


def _places(side: int) -> Tensor:
    """Return which entry of the table holds for each pair of places in a window (Liu et al., 2021)."""
    y, x = np.divmod(np.arange(side * side), side)
    rows, columns = y[:, None] - y[None] + side - 1, x[:, None] - x[None] + side - 1
    return torch.as_tensor(rows * (2 * side - 1) + columns)


def _resnet(state: Any, encoder: str, take: Any) -> None:
    norm = ("weight", "bias", "running_mean", "running_var")

    def conv(old: str, new: str) -> None:
        take(f"{old}.convolution", new, "weight")
        take(f"{old}.normalization", f"{new}.norm", *norm)

    inside = f"{encoder}.backbone" if any(".encoder.backbone." in name for name in state) else encoder
    if f"{inside}.embedder.embedder.convolution.weight" in state:
        conv(f"{inside}.embedder.embedder", "backbone.stem.conv1")
    else:
        for i in range(3):
            conv(f"{inside}.embedder.embedder.{i}", f"backbone.stem.conv{i + 1}")
    for i, depth in enumerate(RESNET["depths"]):
        for j in range(depth):
            old, new = f"{inside}.encoder.stages.{i}.layers.{j}", f"backbone.res{i + 2}.{j}"
            if f"{old}.shortcut.convolution.weight" in state:
                conv(f"{old}.shortcut", f"{new}.shortcut")
            for k in range(3):
                conv(f"{old}.layer.{k}", f"{new}.conv{k + 1}")


def _encoder(state: Any, encoder: str, take: Any, join: Any) -> None:
    new = "sem_seg_head.pixel_decoder"
    take(f"{encoder}.projection", f"{new}.input_proj")
    for i in range(sum(name.endswith("inner.bias") for name in state)):
        old, own = f"{encoder}.blocks.{i}", f"{new}.transformer.encoder.layers.{i}"
        join([f"{old}.attention.{k}" for k in "qkv"], f"{own}.self_attn.in_proj_")
        take(f"{old}.attention.result", f"{own}.self_attn.out_proj")
        parts = {"inner": "linear1", "outer": "linear2", "first_norm": "norm1", "second_norm": "norm2"}
        for ours, theirs in parts.items():
            take(f"{old}.{ours}", f"{own}.{theirs}")


def _heads(config: Any, state: Any, take: Any, join: Any, found: Any, *, second: bool) -> None:
    old, new, predictor = "pixel_level_module.decoder", "sem_seg_head.pixel_decoder", "sem_seg_head.predictor"

    def normed(before: str, after: str) -> None:
        take(f"{before}.0", after, "weight")
        take(f"{before}.1", f"{after}.norm")

    take(f"{old}.mask_projection", f"{new}.mask_features")
    take("class_predictor", f"{predictor}.class_embed")
    take("transformer_module.queries_embedder", f"{predictor}.query_embed", "weight")
    layers = "transformer_module.decoder.layers"
    if not second:
        normed(f"{old}.fpn.stem", f"{new}.layer_4")
        for i in range(3):
            normed(f"{old}.fpn.layers.{i}.proj", f"{new}.adapter_{3 - i}")
            normed(f"{old}.fpn.layers.{i}.block", f"{new}.layer_{3 - i}")
        if "transformer_module.input_projection.weight" in state:
            take("transformer_module.input_projection", f"{predictor}.input_proj")
        take("transformer_module.decoder.layernorm", f"{predictor}.transformer.decoder.norm")
        for i in range(3):
            take(f"mask_embedder.{i}.0", f"{predictor}.mask_embed.layers.{i}")
        for i in range(config.decoder_config.decoder_layers):
            own = f"{predictor}.transformer.decoder.layers.{i}"
            for theirs, ours in (("self_attn", "self_attn"), ("multihead_attn", "encoder_attn")):
                join([f"{layers}.{i}.{ours}.{k}_proj" for k in "qkv"], f"{own}.{theirs}.in_proj_")
                take(f"{layers}.{i}.{ours}.o_proj", f"{own}.{theirs}.out_proj")
                norm = "norm1" if theirs == "self_attn" else "norm2"
                take(f"{layers}.{i}.{ours}_layer_norm", f"{own}.{norm}")
            take(f"{layers}.{i}.mlp.fc1", f"{own}.linear1")
            take(f"{layers}.{i}.mlp.fc2", f"{own}.linear2")
            take(f"{layers}.{i}.final_layer_norm", f"{own}.norm3")
        return
    normed(f"{old}.adapter_1", f"{new}.adapter_1")
    normed(f"{old}.layer_1", f"{new}.layer_1")
    found[f"{new}.transformer.level_embed"] = state.pop(f"{old}.level_embed")
    for i in range(3):
        for j in range(2):
            take(f"{old}.input_projections.{i}.{j}", f"{new}.input_proj.{i}.{j}")
        take(f"transformer_module.decoder.mask_predictor.mask_embedder.{i}.0", f"{predictor}.mask_embed.layers.{i}")
    for i in range(config.encoder_layers):
        before, after = f"{old}.encoder.layers.{i}", f"{new}.transformer.encoder.layers.{i}"
        for part in ("attention_weights", "output_proj", "sampling_offsets", "value_proj"):
            take(f"{before}.self_attn.{part}", f"{after}.self_attn.{part}")
        for ours, theirs in (
            ("fc1", "linear1"),
            ("fc2", "linear2"),
            ("self_attn_layer_norm", "norm1"),
            ("final_layer_norm", "norm2"),
        ):
            take(f"{before}.{ours}", f"{after}.{theirs}")
    take("transformer_module.queries_features", f"{predictor}.query_feat", "weight")
    take("transformer_module.level_embed", f"{predictor}.level_embed", "weight")
    take("transformer_module.decoder.layernorm", f"{predictor}.decoder_norm")
    for i in range(config.decoder_layers - 1):
        own = f"{predictor}.transformer_self_attention_layers.{i}"
        join([f"{layers}.{i}.self_attn.{k}_proj" for k in "qkv"], f"{own}.self_attn.in_proj_")
        take(f"{layers}.{i}.self_attn.out_proj", f"{own}.self_attn.out_proj")
        take(f"{layers}.{i}.self_attn_layer_norm", f"{own}.norm")
        own = f"{predictor}.transformer_cross_attention_layers.{i}"
        for kind in ("weight", "bias"):
            found[f"{own}.multihead_attn.in_proj_{kind}"] = state.pop(f"{layers}.{i}.cross_attn.in_proj_{kind}")
        take(f"{layers}.{i}.cross_attn.out_proj", f"{own}.multihead_attn.out_proj")
        take(f"{layers}.{i}.cross_attn_layer_norm", f"{own}.norm")
        own = f"{predictor}.transformer_ffn_layers.{i}"
        take(f"{layers}.{i}.fc1", f"{own}.linear1")
        take(f"{layers}.{i}.fc2", f"{own}.linear2")
        take(f"{layers}.{i}.final_layer_norm", f"{own}.norm")


def write(tensors: dict[str, Tensor], path: Path) -> Path:
    """Write tensors as detectron2 does: pickled arrays (``.pkl``), or a checkpoint of a training (``.pth``)."""
    if path.suffix == ".pkl":
        arrays = {name: value.numpy() for name, value in tensors.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "a test"}, protocol=2))
    else:
        training = {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}}
        torch.save({"model": tensors, "iteration": 9, **training}, path)
    return path

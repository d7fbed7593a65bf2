"""The names of our GLIP network for the tensors in its authors' files and in mmdetection's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_foundseg.models.files.checked_network import without_prefix

if TYPE_CHECKING:
    import torch

__all__ = ["own_names", "own_shapes", "own_tensors"]

_BERT = "language_backbone.body.model."
#: Prefixes in each layout and their replacements here. The key is a tensor that only files of that layout have.
_LAYOUTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "bbox_head.head.dot_product_projection_text.weight": (
        ("backbone.", "picture."),
        ("neck.", "pyramid."),
        (f"language_model.{_BERT}", "words."),
        ("bbox_head.head.", "head."),
    ),
    "rpn.head.dot_product_projection_text.weight": (
        ("backbone.body.patch_embed.proj.", "picture.patch_embed.projection."),
        ("backbone.body.layers.", "picture.stages."),
        ("backbone.body.", "picture."),
        ("backbone.fpn.fpn_inner2.", "pyramid.lateral_convs.0.conv."),
        ("backbone.fpn.fpn_inner3.", "pyramid.lateral_convs.1.conv."),
        ("backbone.fpn.fpn_inner4.", "pyramid.lateral_convs.2.conv."),
        ("backbone.fpn.fpn_layer2.", "pyramid.fpn_convs.0.conv."),
        ("backbone.fpn.fpn_layer3.", "pyramid.fpn_convs.1.conv."),
        ("backbone.fpn.fpn_layer4.", "pyramid.fpn_convs.2.conv."),
        ("backbone.fpn.top_blocks.p6.", "pyramid.fpn_convs.3.conv."),
        ("backbone.fpn.top_blocks.p7.", "pyramid.fpn_convs.4.conv."),
        (_BERT, "words."),
        ("rpn.head.", "head."),
    ),
}
#: Inner parts of the authors' names, and their replacements here.
_PARTS = (
    (".attn.", ".attn.w_msa."),
    (".mlp.fc1.", ".ffn.layers.0.0."),
    (".mlp.fc2.", ".ffn.layers.1."),
    (".DyConv.", ".dyconvs."),
    (".AttnConv.", ".attnconv."),
)
#: Tensors that only serve training, or are computed.
_UNUSED = ("head.cls_logits.", "rpn.anchor_generator.", "words.embeddings.position_ids", "words.pooler.")


def own_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes that our network's tensors have, under its names; empty if they are of neither layout."""
    return {name: () if _is_scale(name) and shape == (1,) else shape for name, shape in own_names(shapes).items()}


def own_names(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors, or their shapes, under the names of our network; empty if they are of neither layout."""
    for mark, beginnings in _LAYOUTS.items():
        if found := without_prefix(tensors, mark):
            named = {_own_name(name, beginnings, authors=mark.startswith("rpn.")): one for name, one in found.items()}
            return {name: one for name, one in named.items() if not name.startswith(_UNUSED)}
    return {}


def own_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors under the names of our network, in its shapes and order, and in float32."""
    own = own_names(tensors)
    authors = any(name.endswith("rpn.head.log_scale") for name in tensors)
    found = {}
    for name, tensor in own.items():
        one = tensor.float() if tensor.is_floating_point() else tensor
        if ".downsample." in name and authors:
            one = _by_channel(one)
        found[name] = one.reshape(()) if _is_scale(name) else one
    return found


def _is_scale(name: str) -> bool:
    """Return whether a tensor is the scale of a level's boxes: a scalar here, a row of one number for the authors."""
    return name.startswith("head.scales.")


def _own_name(name: str, beginnings: tuple[tuple[str, str], ...], *, authors: bool) -> str:
    for start, own in beginnings:
        if name.startswith(start):
            name = own + name.removeprefix(start)
            break
    if authors and name.startswith(("picture.", "head.dyhead_tower.")):
        for part, own in _PARTS:
            if part != ".attn." or name.startswith("picture."):
                name = name.replace(part, own)
    return name


def _by_channel(values: torch.Tensor) -> torch.Tensor:
    """Reorder the inputs of a layer that merges four neighbours, to go by channel.

    The authors go neighbour by neighbour, in the order (0, 0), (1, 0), (0, 1), (1, 1). Our network goes channel by
    channel, with the neighbours row by row.
    """
    neighbours: torch.Tensor = values.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return neighbours.transpose(-1, -2).flatten(-2)

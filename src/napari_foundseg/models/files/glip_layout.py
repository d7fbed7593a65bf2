"""Names of GLIP's tensors in its authors' files and in mmdetection's, as those of the network here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_foundseg.models.files.checked_network import without_prefix

if TYPE_CHECKING:
    import torch

__all__ = ["own_names", "own_shapes", "own_tensors"]

_BERT = "language_backbone.body.model."
#: By a tensor that only files of the layout have: beginnings of names, and what they are here.
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
#: Parts of names within them in the authors' files.
_PARTS = (
    (".attn.", ".attn.w_msa."),
    (".mlp.fc1.", ".ffn.layers.0.0."),
    (".mlp.fc2.", ".ffn.layers.1."),
    (".DyConv.", ".dyconvs."),
    (".AttnConv.", ".attnconv."),
)
#: What serves training, or is computed.
_UNUSED = ("head.cls_logits.", "rpn.anchor_generator.", "words.embeddings.position_ids", "words.pooler.")


def own_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return shapes as the tensors of the network here have them; none if they are of neither layout."""
    return {name: () if _is_scale(name) and shape == (1,) else shape for name, shape in own_names(shapes).items()}


def own_names(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors, or their shapes, by the names of the network here; none if they are of neither layout."""
    for mark, beginnings in _LAYOUTS.items():
        if found := without_prefix(tensors, mark):
            named = {_own_name(name, beginnings, authors=mark.startswith("rpn.")): one for name, one in found.items()}
            return {name: one for name, one in named.items() if not name.startswith(_UNUSED)}
    return {}


def own_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors as the network here takes them."""
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
    """Tell the factor of a level's boxes, a number that the authors keep as a row of one."""
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
    """Order the inputs of a merging of four neighbours by channel.

    The authors have neighbour by neighbour: that at (0, 0), (1, 0), (0, 1) and (1, 1); the network here has channel by
    channel, the neighbours row by row.
    """
    neighbours: torch.Tensor = values.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return neighbours.transpose(-1, -2).flatten(-2)

"""GLIP (Li et al., CVPR 2022): a Swin transformer and BERT, fused in a dynamic head; ATSS's boxes at each place."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel
from transformers.models.bert.modeling_bert import BertLayer

from napari_foundseg.models.nets.classes.openmmlab.facts import Facts
from napari_foundseg.models.nets.classes.openmmlab.parts import Shapes, count_of
from napari_foundseg.models.nets.classes.openmmlab.swin import SwinTransformer
from napari_foundseg.models.nets.language.dynamic_head import DynamicBlock
from napari_foundseg.models.nets.language.fusion import TextPictureFusion

__all__ = ["Glip", "LevelScores"]

#: Channels of a head of BERT's attention.
_HEAD = 64
_BOUND = 50_000.0


class LevelScores(NamedTuple):
    """Output of the network for each place of a level, row by row."""

    logits: Tensor
    """Logits of each token, (K, T)."""
    deltas: Tensor
    """Offsets of the box, (K, 4)."""
    centerness: Tensor
    """Logit that the place is in the middle of its object, (K,)."""
    size: tuple[int, int]
    """Rows and columns of the level."""


class Glip(nn.Module):
    """The network, built from the shapes of its tensors under the names of `glip_layout`."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        own = Shapes(shapes)
        self.picture = SwinTransformer(own.within("picture"), Facts())
        self.pyramid = _Pyramid(own.within("pyramid"))
        config = _bert_config(own.within("words"))
        self.words = BertModel(config, add_pooling_layer=False)
        self.head = _Head(own.within("head"), self.words.config)

    def encode(self, picture: Tensor) -> list[Tensor]:
        """Return the levels of features of a prepared picture, (1, 3, M, N), sides multiples of 32."""
        found: list[Tensor] = self.pyramid(self.picture(picture))
        return found

    def read(self, tokens: Tensor) -> Tensor:
        """Return the features of tokens, (T,) numbers, as (T, D)."""
        found: Tensor = self.words(input_ids=tokens[None]).last_hidden_state[0]
        return found

    def forward(self, levels: list[Tensor], tokens: Tensor) -> list[LevelScores]:
        """Return scores and boxes of the levels of `encode`, for the tokens of `read`."""
        found: list[LevelScores] = self.head(levels, tokens)
        return found


class _Pyramid(nn.Module):
    """Feature pyramid that brings three levels to the same channels, from coarse to fine, and adds two coarser ones."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        sides = [shapes[f"lateral_convs.{i}.conv.weight"] for i in range(3)]
        out = sides[0][0]
        self.lateral_convs = nn.ModuleList(_named(nn.Conv2d(side[1], out, 1)) for side in sides)
        self.fpn_convs = nn.ModuleList(_named(nn.Conv2d(out, out, 3, stride, padding=1)) for stride in (1, 1, 1, 2, 2))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        sides = [convolution(x) for convolution, x in zip(self.lateral_convs, features, strict=True)]
        for i in (1, 0):
            sides[i] = sides[i] + F.interpolate(sides[i + 1], sides[i].shape[-2:], mode="nearest")
        found = [self.fpn_convs[i](side) for i, side in enumerate(sides)]
        found.append(self.fpn_convs[3](found[2]))
        found.append(self.fpn_convs[4](F.relu(found[3])))
        return found


def _named(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=convolution))


class _Head(nn.Module):
    def __init__(self, shapes: Shapes, config: BertConfig) -> None:
        super().__init__()
        count = count_of(shapes, "dyhead_tower.")
        self.dyhead_tower = nn.ModuleList(_tower_part(shapes.within(f"dyhead_tower.{i}"), config) for i in range(count))
        channels, width = shapes["dot_product_projection_text.weight"]
        self.bbox_pred = nn.Conv2d(channels, 4, 1)
        self.centerness = nn.Conv2d(channels, 1, 1)
        self.dot_product_projection_text = nn.Linear(width, channels)
        self.log_scale = nn.Parameter(torch.zeros(1))
        self.bias_lang = nn.Parameter(torch.zeros(width))
        self.bias0 = nn.Parameter(torch.zeros(1))
        self.scales = nn.ModuleList(_Scale() for _ in range(count_of(shapes, "scales.")))

    def forward(self, levels: list[Tensor], tokens: Tensor) -> list[LevelScores]:
        for part in self.dyhead_tower:
            if isinstance(part, DynamicBlock):
                levels = part(levels)
            elif isinstance(part, BertLayer):
                # Before transformers 5 a layer returns a tuple.
                tokens = part(tokens[None])[0].reshape(tokens.shape)
            else:
                levels, tokens = _fused(part.get_submodule("b_attn"), levels, tokens)
        tokens = F.normalize(tokens, dim=-1)
        projected = self.dot_product_projection_text(tokens / 2)
        bias = tokens @ self.bias_lang + self.bias0
        found = []
        for level, scale in zip(levels, self.scales, strict=True):
            places = level[0].flatten(1).T
            logits = places @ projected.T / self.log_scale.exp() + bias
            deltas = (scale.scale * self.bbox_pred(level))[0].flatten(1).T
            size = (level.shape[2], level.shape[3])
            centerness = self.centerness(level).flatten()
            found.append(LevelScores(logits.clamp(-_BOUND, _BOUND), deltas, centerness, size))
        return found


def _fused(fusion: nn.Module, levels: list[Tensor], tokens: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return levels and tokens after a layer of the fusion, which takes the places of all levels at once."""
    places, tokens = fusion(torch.cat([level[0].flatten(1).T for level in levels]), tokens)
    parts = places.T.split([level[0, 0].numel() for level in levels], dim=1)
    return [part.reshape(level.shape) for part, level in zip(parts, levels, strict=True)], tokens


def _tower_part(shapes: Shapes, config: BertConfig) -> nn.Module:
    """Return a layer of the fusion, a layer of BERT, or a block of the dynamic head, by its tensors."""
    if "b_attn.gamma_v" in shapes:
        inner, channels = shapes["b_attn.attn.v_proj.weight"]
        return nn.ModuleDict({"b_attn": TextPictureFusion(channels, shapes["b_attn.gamma_l"][0], inner)})
    if "attention.self.query.weight" in shapes:
        return BertLayer(config)
    squeezed, channels = shapes["relu.fc.0.weight"]
    return DynamicBlock(channels, squeezed)


class _Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


def _bert_config(shapes: Shapes) -> BertConfig:
    count, width = shapes["embeddings.word_embeddings.weight"]
    return BertConfig(
        vocab_size=count,
        hidden_size=width,
        num_hidden_layers=count_of(shapes, "encoder.layer."),
        num_attention_heads=max(1, width // _HEAD),
        intermediate_size=shapes["encoder.layer.0.intermediate.dense.weight"][0],
        max_position_embeddings=shapes["embeddings.position_embeddings.weight"][0],
        type_vocab_size=shapes["embeddings.token_type_embeddings.weight"][0],
    )

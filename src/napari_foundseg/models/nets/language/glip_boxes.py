"""Boxes of phrases from the scores of tokens at places, as in mmdetection (ATSS, Zhang et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from napari_foundseg.models.nets.language.glip import LevelScores

__all__ = ["MOST_BOXES", "boxes_of_phrases", "decoded_boxes", "phrase_scores"]

#: Most boxes for a picture and a text, and most boxes of a level before duplicates are removed.
MOST_BOXES = 100
_MOST_OF_LEVEL = 1000
#: Least score of a phrase at a place, before it is multiplied with the place's centerness.
_LEAST = 0.05
#: IoU above which two boxes of a phrase are taken for one object.
_SAME = 0.6
#: Pixels from place to place on the finest level, doubled on each coarser one. An anchor's side is 8 places long.
_STRIDE = 8
_ANCHOR = 8
#: Divisors of the deltas of centres and of sizes, and the largest factor by which a side changes.
_CENTRES, _SIDES = 10.0, 5.0
_LARGEST = 1000 / 16


def phrase_scores(probabilities: Tensor, spans: Sequence[Sequence[int]]) -> Tensor:
    """Return the mean probability of each phrase's tokens, (K, P), from the probabilities of tokens, (K, T)."""
    return torch.stack([probabilities[:, list(span)].mean(-1) for span in spans], dim=-1)


def decoded_boxes(deltas: Tensor, size: tuple[int, int], level: int, shape: tuple[int, int]) -> Tensor:
    """Return the boxes of a level's places inside a picture of `shape`, (x0, y0, x1, y1), last pixels included."""
    stride = _STRIDE << level
    side = float(_ANCHOR * stride)
    rows, columns = (torch.arange(n, device=deltas.device) * stride for n in size)
    centres = torch.stack([columns.repeat(size[0]), rows.repeat_interleave(size[1])], dim=1) + (stride - 1) / 2
    centres = centres + side * deltas[:, :2] / _CENTRES
    largest = torch.tensor(_LARGEST).log().item()
    sides = side * (deltas[:, 2:] / _SIDES).clamp(-largest, largest).exp()
    corners = torch.cat([centres - (sides - 1) / 2, centres + (sides - 1) / 2], dim=1)
    most = corners.new_tensor([shape[1] - 1, shape[0] - 1]).repeat(2)
    return corners.clamp(min=0).minimum(most)


def boxes_of_phrases(
    levels: Sequence[LevelScores], spans: Sequence[Sequence[int]], shape: tuple[int, int], scale: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the boxes of phrases in a picture, their scores and phrases, the best first.

    `shape` is the size of the network's input without the padding below and at the right. `scale` has the factors by
    which its columns and rows were resized before. Boxes refer to the picture before resizing, as corners
    (x0, y0, x1, y1) with the far edges excluded.
    """
    parts = [_of_level(one, number, spans, shape) for number, one in enumerate(levels)]
    corners, scores, phrases = (torch.cat(column) for column in zip(*parts, strict=True))
    corners = corners / corners.new_tensor(scale).repeat(2)
    flat = (corners[:, 2:] <= corners[:, :2]).any(1)
    corners, scores, phrases = corners[~flat], scores[~flat], phrases[~flat]
    kept = batched_nms(corners, scores, phrases, _SAME)[:MOST_BOXES]
    corners = corners[kept]
    return torch.cat([corners[:, :2], corners[:, 2:] + 1], dim=1), scores[kept], phrases[kept]


def _of_level(
    level: LevelScores, number: int, spans: Sequence[Sequence[int]], shape: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the boxes of the best places of a level, their scores and phrases."""
    found = phrase_scores(level.logits.sigmoid(), spans)
    places, phrases = (found > _LEAST).nonzero(as_tuple=True)
    scores, order = found[places, phrases].sort(descending=True)
    scores, order = scores[:_MOST_OF_LEVEL], order[:_MOST_OF_LEVEL]
    places, phrases = places[order], phrases[order]
    # The box is best in the middle of an object.
    scores = (scores * level.centerness.sigmoid()[places]).sqrt()
    return decoded_boxes(level.deltas, level.size, number, shape)[places], scores, phrases

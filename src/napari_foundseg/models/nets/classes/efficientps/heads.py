"""The heads of EfficientPS: classes of pixels, and objects by Mask R-CNN with separable convolutions."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import MultiScaleRoIAlign

from napari_foundseg.models.nets.classes.efficientps.encoder import SeparableConv, conv_norm

__all__ = ["InstanceHead", "SemanticHead"]

#: Dilations of the prediction cell after the first.
_DILATIONS = ((1, 1), (6, 21), (18, 15))
_INNER = 128
#: Pixels of the picture in a cell of each scale, and how many cells an anchor's side has.
_STRIDES = (4, 8, 16, 32)
_CELLS = 8
_RATIOS = (0.5, 1.0, 2.0)


class _Cell(nn.Module):
    """Dense prediction cell: dilated convolutions with wide views of the coarse scales."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first = SeparableConv(inputs, inputs, (1, 6))
        self.after = nn.ModuleList(SeparableConv(inputs, inputs, dilation) for dilation in _DILATIONS)
        self.last = SeparableConv(inputs, inputs, (6, 3))
        self.join = conv_norm(5 * inputs, _INNER, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        after = [conv(first) for conv in self.after]
        found: Tensor = self.join(torch.cat([first, *after, self.last(after[-1])], 1))
        return found


class SemanticHead(nn.Module):
    """Scores of classes: prediction cells on coarse scales, plain convolutions on fine ones, corrections between."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.fine = nn.ModuleList(_twice(inputs) for _ in range(2))
        self.cells = nn.ModuleList(_Cell(inputs) for _ in range(2))
        self.corrections = nn.ModuleList(_twice(_INNER) for _ in range(2))
        self.logits = nn.Conv2d(4 * _INNER, classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return scores at a quarter of the picture's resolution."""
        coarsest = self.cells[1](features[3])
        coarse = self.cells[0](features[2]) + _enlarged(coarsest, 2)
        middle = self.fine[1](features[1]) + _enlarged(self.corrections[1](coarse), 2)
        finest = self.fine[0](features[0]) + _enlarged(self.corrections[0](middle), 2)
        joined = [finest, _enlarged(middle, 2), _enlarged(coarse, 4), _enlarged(coarsest, 8)]
        found: Tensor = self.logits(torch.cat(joined, 1))
        return found


def _twice(inputs: int) -> nn.Module:
    return nn.Sequential(SeparableConv(inputs, _INNER), SeparableConv(_INNER, _INNER))


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


class _ProposalHead(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = SeparableConv(inputs, inputs)
        self.scores = nn.Conv2d(inputs, len(_RATIOS), 1)
        self.boxes = nn.Conv2d(inputs, 4 * len(_RATIOS), 1)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        seen = [self.conv(x) for x in features]
        return [self.scores(x) for x in seen], [self.boxes(x) for x in seen]


class _BoxHead(nn.Module):
    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs * 49, hidden)
        self.second = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x.flatten(1)))))


class InstanceHead(nn.Module):
    """Boxes, classes of things, and 28 x 28 mask logits for the objects of a picture."""

    def __init__(self, inputs: int, things: int, hidden: int) -> None:
        super().__init__()
        anchors = AnchorGenerator(tuple((_CELLS * stride,) for stride in _STRIDES), (_RATIOS,) * len(_STRIDES))
        counts = {"training": 2000, "testing": 1000}
        self.proposals = RegionProposalNetwork(anchors, _ProposalHead(inputs), 0.7, 0.3, 256, 0.5, counts, counts, 0.7)
        names = [str(i) for i in range(len(_STRIDES))]
        self.regions: Any = RoIHeads(
            MultiScaleRoIAlign(names, 7, 2),
            _BoxHead(inputs, hidden),
            FastRCNNPredictor(hidden, things + 1),
            0.5, 0.5, 512, 0.25, None, 0.5, 0.5, 100,
        )  # fmt: skip
        self.mask_pool = MultiScaleRoIAlign(names, 14, 2)
        self.masks = nn.Sequential(
            *(SeparableConv(inputs, inputs) for _ in range(4)),
            nn.ConvTranspose2d(inputs, inputs, 2, 2),
            nn.ReLU(),
            nn.Conv2d(inputs, things, 1),
        )

    def forward(
        self, features: list[Tensor], shape: tuple[int, int], least: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return boxes (x0, y0, x1, y1), numbers of things from 0, scores of at least `least`, and mask logits."""
        named = OrderedDict((str(i), x) for i, x in enumerate(features))
        found = self.proposals(ImageList(features[0].new_zeros((1, 3, *shape)), [shape]), named)[0]
        seen = self.regions.box_head(self.regions.box_roi_pool(named, found, [shape]))
        scores, boxes = self.regions.box_predictor(seen)
        self.regions.score_thresh = least
        kept, confident, numbers = (
            one[0] for one in self.regions.postprocess_detections(scores, boxes, found, [shape])
        )
        logits = self.masks(self.mask_pool(named, [kept], [shape]))
        own = logits[torch.arange(len(numbers), device=logits.device), numbers - 1]
        return kept, numbers - 1, confident, own

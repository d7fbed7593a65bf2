"""Panoptic-DeepLab (Cheng et al., CVPR 2020) as detectron2 publishes it: a dilated ResNet and two DeepLabV3+ decoders.

Modules are named like detectron2's, so that its weights load as they are. Widths are taken from the shapes of the
weights. Settings that shapes do not show are those of the published configurations: strides in the 3 × 3 convolutions,
dilations 2, 4, 8 in ``res5`` and 6, 12, 18 in the pyramids, decoders at a quarter of the picture's resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["STRIDE", "PanopticDeepLab"]

#: Pixels of the picture per cell of ``res5``, and per cell of the decoders' output.
STRIDE = 16
_COMMON = 4
_RES5_DILATIONS = (2, 4, 8)
_PYRAMID_DILATIONS = (6, 12, 18)
_LEVELS = ("res5", "res3", "res2")

Shapes = Mapping[str, Sequence[int]]


class PanopticDeepLab(nn.Module):
    """The network: class scores, centres and offsets of a picture.

    Parameters
    ----------
    shapes : mapping of str to sequence of int
        Shape of each weight by its name in detectron2.
    pooled : tuple of int, optional
        Rows and columns of ``res5`` that the pyramids pool at once, as many as in training; None for all.
    """

    def __init__(self, shapes: Shapes, pooled: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.backbone = _Backbone(shapes, "backbone")
        self.sem_seg_head = _SemanticHead(shapes, "sem_seg_head", pooled)
        self.ins_embed_head = _InstanceHead(shapes, "ins_embed_head", pooled)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the network.

        Parameters
        ----------
        pictures : (B, 3, M, N) Tensor of float
            Normalised; where pooling is limited, sides are multiples of its window.

        Returns
        -------
        classes : (B, C, M', N') Tensor
            Logits of the classes; M' and N' are M and N rounded up to multiples of 4.
        centres : (B, 1, M', N') Tensor
            Heat map of the objects' centres.
        offsets : (B, 2, M', N') Tensor
            Offset from each pixel to its object's centre, in pixels, rows first.
        """
        features = self.backbone(pictures)
        centres, offsets = self.ins_embed_head(features)
        classes = self.sem_seg_head(features)
        return _enlarged(classes), _enlarged(centres), _enlarged(offsets) * _COMMON


def _enlarged(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=_COMMON, mode="bilinear", align_corners=False)


class _Conv(nn.Conv2d):
    """A padded convolution, batch norm if the weights have one, and ReLU."""

    def __init__(self, shapes: Shapes, name: str, *, stride: int = 1, dilation: int = 1, relu: bool = True) -> None:
        outputs, inputs, size, _ = shapes[f"{name}.weight"]
        groups = outputs if name.endswith(".depthwise") else 1
        super().__init__(
            inputs * groups, outputs, size, stride=stride, padding=size // 2 * dilation, dilation=dilation,
            groups=groups, bias=f"{name}.bias" in shapes,
        )  # fmt: skip
        self.norm = nn.BatchNorm2d(outputs) if f"{name}.norm.weight" in shapes else nn.Identity()
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(super().forward(x))
        return F.relu(x) if self.relu else x


class _Separable(nn.Module):
    """A depthwise convolution, then a pointwise one."""

    def __init__(self, shapes: Shapes, name: str, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = _Conv(shapes, f"{name}.depthwise", dilation=dilation)
        self.pointwise = _Conv(shapes, f"{name}.pointwise")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


def _convolution(shapes: Shapes, name: str, dilation: int = 1) -> nn.Module:
    """Return the layer that weights have under a name: a separable convolution, a plain one, or several plain ones."""
    if f"{name}.depthwise.weight" in shapes:
        return _Separable(shapes, name, dilation)
    if f"{name}.weight" in shapes:
        return _Conv(shapes, name, dilation=dilation)
    return nn.Sequential(*(_Conv(shapes, f"{name}.{i}") for i in range(_count(shapes, name))))


def _count(shapes: Shapes, name: str) -> int:
    """Return how many numbered parts the weights have under a name, but at least one."""
    depth = name.count(".") + 1
    return max(1, len({key.split(".")[depth] for key in shapes if key.startswith(f"{name}.")}))


class _Bottleneck(nn.Module):
    def __init__(self, shapes: Shapes, name: str, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _Conv(shapes, f"{name}.conv1")
        self.conv2 = _Conv(shapes, f"{name}.conv2", stride=stride, dilation=dilation)
        self.conv3 = _Conv(shapes, f"{name}.conv3", relu=False)
        self.shortcut: nn.Module = nn.Identity()
        if f"{name}.shortcut.weight" in shapes:
            self.shortcut = _Conv(shapes, f"{name}.shortcut", stride=stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))


class _Stem(nn.Module):
    def __init__(self, shapes: Shapes, name: str) -> None:
        super().__init__()
        self.conv1 = _Conv(shapes, f"{name}.conv1", stride=2)
        self.conv2 = _Conv(shapes, f"{name}.conv2")
        self.conv3 = _Conv(shapes, f"{name}.conv3")

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.conv3(self.conv2(self.conv1(x))), kernel_size=3, stride=2, padding=1)


class _Backbone(nn.Module):
    def __init__(self, shapes: Shapes, name: str) -> None:
        super().__init__()
        self.stem = _Stem(shapes, f"{name}.stem")
        for stage, stride in (("res2", 1), ("res3", 2), ("res4", 2), ("res5", 1)):
            blocks = [
                _Bottleneck(
                    shapes,
                    f"{name}.{stage}.{i}",
                    stride if i == 0 else 1,
                    _RES5_DILATIONS[min(i, 2)] if stage == "res5" else 1,
                )
                for i in range(_count(shapes, f"{name}.{stage}"))
            ]
            setattr(self, stage, nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        features = {}
        for stage in ("res2", "res3", "res4", "res5"):
            x = features[stage] = getattr(self, stage)(x)
        return features


class _Pyramid(nn.Module):
    """Atrous spatial pyramid pooling."""

    def __init__(self, shapes: Shapes, name: str, pooled: tuple[int, int] | None) -> None:
        super().__init__()
        pool = nn.AdaptiveAvgPool2d(1) if pooled is None else nn.AvgPool2d(pooled, stride=1)
        self.convs = nn.ModuleList(
            [
                _Conv(shapes, f"{name}.convs.0"),
                *(_convolution(shapes, f"{name}.convs.{i}", d) for i, d in enumerate(_PYRAMID_DILATIONS, 1)),
                nn.Sequential(pool, _Conv(shapes, f"{name}.convs.4.1")),
            ]
        )
        self.project = _Conv(shapes, f"{name}.project")

    def forward(self, x: Tensor) -> Tensor:
        *found, whole = [branch(x) for branch in self.convs]
        whole = F.interpolate(whole, x.shape[-2:], mode="bilinear", align_corners=False)
        out: Tensor = self.project(torch.cat([*found, whole], dim=1))
        return out


class _Decoder(nn.Module):
    """The first part of both heads: the pyramid on ``res5``, refined by ``res3`` and ``res2``."""

    def __init__(self, shapes: Shapes, name: str, pooled: tuple[int, int] | None) -> None:
        super().__init__()
        self.decoder = nn.ModuleDict()
        for level in _LEVELS:
            own = f"{name}.decoder.{level}"
            part = nn.ModuleDict()
            if level == "res5":
                part["project_conv"] = _Pyramid(shapes, f"{own}.project_conv", pooled)
            else:
                part["project_conv"] = _Conv(shapes, f"{own}.project_conv")
                part["fuse_conv"] = _convolution(shapes, f"{own}.fuse_conv")
            self.decoder[level] = part

    def decoded(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return features at a quarter of the picture's resolution."""
        x = features["res5"]
        for level in _LEVELS:
            part: Any = self.decoder[level]
            projected = part["project_conv"](features[level])
            if level == "res5":
                x = projected
            else:
                x = F.interpolate(x, projected.shape[-2:], mode="bilinear", align_corners=False)
                x = part["fuse_conv"](torch.cat([projected, x], dim=1))
        return x


class _SemanticHead(_Decoder):
    def __init__(self, shapes: Shapes, name: str, pooled: tuple[int, int] | None) -> None:
        super().__init__(shapes, name, pooled)
        self.head = _convolution(shapes, f"{name}.head")
        self.predictor = _Conv(shapes, f"{name}.predictor", relu=False)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.predictor(self.head(self.decoded(features)))
        return logits


class _InstanceHead(_Decoder):
    def __init__(self, shapes: Shapes, name: str, pooled: tuple[int, int] | None) -> None:
        super().__init__(shapes, name, pooled)
        self.center_head = _convolution(shapes, f"{name}.center_head")
        self.center_predictor = _Conv(shapes, f"{name}.center_predictor", relu=False)
        self.offset_head = _convolution(shapes, f"{name}.offset_head")
        self.offset_predictor = _Conv(shapes, f"{name}.offset_predictor", relu=False)

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        x = self.decoded(features)
        return self.center_predictor(self.center_head(x)), self.offset_predictor(self.offset_head(x))

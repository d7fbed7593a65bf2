"""Necks and heads of mmsegmentation: from the features of a backbone to scores, which are smaller than the picture."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from napari_foundseg.models.nets.classes.openmmlab.facts import Facts
from napari_foundseg.models.nets.classes.openmmlab.parts import Convolution, Separable, Shapes, count_of, resized

__all__ = ["HEADS", "FpnNeck", "MlaNeck", "head_of"]

Maps = list[torch.Tensor]


class FpnNeck(nn.Module):
    """A feature pyramid: coarse features are added to finer ones."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.lateral_convs = _numbered(shapes, "lateral_convs", active=False)
        self.fpn_convs = _numbered(shapes, "fpn_convs", active=False)

    def forward(self, maps: Maps) -> Maps:
        """Return features of the same sizes, finest first."""
        maps = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for i in range(len(maps) - 1, 0, -1):
            maps[i - 1] = maps[i - 1] + F.interpolate(maps[i], maps[i - 1].shape[-2:], mode="nearest")
        return [conv(x) for conv, x in zip(self.fpn_convs, maps, strict=True)]


class MlaNeck(nn.Module):
    """SETR's aggregation of the features of several layers of a ViT."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        widths = [shapes[f"norm.{i}.weight"][0] for i in range(count_of(shapes, "norm."))]
        self.norm = nn.ModuleList(nn.LayerNorm(width, 1e-6) for width in widths)
        self.mla = _Aggregation(shapes.within("mla"))

    def forward(self, maps: Maps) -> Maps:
        """Return features, those of the last layer first."""
        found: Maps = self.mla([_normed(norm, x) for norm, x in zip(self.norm, maps, strict=True)])
        return found


class _Aggregation(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.channel_proj = _numbered(shapes, "channel_proj")
        self.feat_extract = _numbered(shapes, "feat_extract")

    def forward(self, maps: Maps) -> Maps:
        maps = [conv(x) for conv, x in zip(self.channel_proj, maps, strict=True)][::-1]
        for i in range(1, len(maps)):
            maps[i] = maps[i - 1] + maps[i]
        return [conv(x) for conv, x in zip(self.feat_extract, maps, strict=True)]


class _Head(nn.Module):
    """Base class, which classifies the `features` of a subclass pixel by pixel."""

    def __init__(self, shapes: Shapes, facts: Facts) -> None:
        super().__init__()
        classes, width = shapes["conv_seg.weight"][:2]
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.corners = facts.align_corners

    def features(self, maps: Maps) -> torch.Tensor:
        """Return the features of pixels."""
        raise NotImplementedError

    def forward(self, maps: Maps) -> torch.Tensor:
        """Return the scores of classes."""
        found: torch.Tensor = self.conv_seg(self.features(maps))
        return found

    def _as(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return resized(x, like, corners=self.corners)


class _Fcn(_Head):
    def __init__(self, shapes: Shapes, facts: Facts) -> None:
        super().__init__(shapes, facts)
        self.convs = _numbered(shapes, "convs", dilation=facts.head_dilation)
        self.joined = "conv_cat.conv.weight" in shapes
        if self.joined:
            self.conv_cat = Convolution(shapes.within("conv_cat"))

    def features(self, maps: Maps) -> torch.Tensor:
        x = maps[-1]
        found = x
        for conv in self.convs:
            found = conv(found)
        return self.conv_cat(torch.cat([x, found], 1)) if self.joined else found


class _Pyramid(_Head):
    """PSPNet's head, and base class of UPerNet's: pooling of the coarsest features in several sizes."""

    def __init__(self, shapes: Shapes, facts: Facts) -> None:
        super().__init__(shapes, facts)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), Convolution(shapes.within(f"psp_modules.{i}.1")))
            for i, side in enumerate(facts.pools)
        )
        self.bottleneck = Convolution(shapes.within("bottleneck"))

    def features(self, maps: Maps) -> torch.Tensor:
        x = maps[-1]
        found: torch.Tensor = self.bottleneck(torch.cat([x, *(self._as(part(x), x) for part in self.psp_modules)], 1))
        return found


class _UPer(_Pyramid):
    def __init__(self, shapes: Shapes, facts: Facts) -> None:
        super().__init__(shapes, facts)
        self.lateral_convs = _numbered(shapes, "lateral_convs")
        self.fpn_convs = _numbered(shapes, "fpn_convs")
        self.fpn_bottleneck = Convolution(shapes.within("fpn_bottleneck"))

    def features(self, maps: Maps) -> torch.Tensor:
        own = [conv(x) for conv, x in zip(self.lateral_convs, maps[:-1], strict=True)]
        own.append(super().features(maps))
        for i in range(len(own) - 1, 0, -1):
            own[i - 1] = own[i - 1] + self._as(own[i], own[i - 1])
        found = [*(conv(x) for conv, x in zip(self.fpn_convs, own[:-1], strict=True)), own[-1]]
        joined: torch.Tensor = self.fpn_bottleneck(torch.cat([self._as(x, found[0]) for x in found], 1))
        return joined


class _Aspp(_Head):
    """Convolutions with several dilations and one pooling (DeepLabV3), and finer features (DeepLabV3+)."""

    def __init__(self, shapes: Shapes, facts: Facts) -> None:
        super().__init__(shapes, facts)
        self.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), Convolution(shapes.within("image_pool.1")))
        self.aspp_modules = nn.ModuleList(
            _plain_or_separable(shapes.within(f"aspp_modules.{i}"), rate) for i, rate in enumerate(facts.rates)
        )
        self.bottleneck = Convolution(shapes.within("bottleneck"))
        self.finer = "c1_bottleneck.conv.weight" in shapes
        if self.finer:
            self.c1_bottleneck = Convolution(shapes.within("c1_bottleneck"))
        count = count_of(shapes, "sep_bottleneck.")
        if count:
            self.sep_bottleneck = nn.Sequential(
                *(Separable(shapes.within(f"sep_bottleneck.{i}")) for i in range(count))
            )
        self.separable = count > 0

    def features(self, maps: Maps) -> torch.Tensor:
        x = maps[-1]
        parts = [self._as(self.image_pool(x), x), *(part(x) for part in self.aspp_modules)]
        found: torch.Tensor = self.bottleneck(torch.cat(parts, 1))
        if self.finer:
            fine = self.c1_bottleneck(maps[0])
            found = torch.cat([self._as(found, fine), fine], 1)
        last: torch.Tensor = self.sep_bottleneck(found) if self.separable else found
        return last


class _Fpn(_Head):
    def __init__(self, shapes: Shapes, facts: Facts) -> None:
        super().__init__(shapes, facts)
        self.scale_heads = nn.ModuleList(
            self._enlarging(shapes.within(f"scale_heads.{i}"), enlarge=i > 0)
            for i in range(count_of(shapes, "scale_heads."))
        )

    def _enlarging(self, shapes: Shapes, *, enlarge: bool) -> nn.Sequential:
        parts: list[nn.Module] = []
        for i in sorted({int(name.partition(".")[0]) for name in shapes}):
            parts.append(Convolution(shapes.within(str(i))))
            parts += [_Enlarged(2, corners=self.corners)] if enlarge else []
        return nn.Sequential(*parts)

    def features(self, maps: Maps) -> torch.Tensor:
        found: Maps = [part(x) for part, x in zip(self.scale_heads, maps, strict=True)]
        joined = found[0]
        for x in found[1:]:
            joined = joined + self._as(x, joined)
        return joined


class _Segformer(_Head):
    def __init__(self, shapes: Shapes, facts: Facts) -> None:
        super().__init__(shapes, facts)
        self.convs = _numbered(shapes, "convs")
        self.fusion_conv = Convolution(shapes.within("fusion_conv"))

    def features(self, maps: Maps) -> torch.Tensor:
        own = [self._as(conv(x), maps[0]) for conv, x in zip(self.convs, maps, strict=True)]
        found: torch.Tensor = self.fusion_conv(torch.cat(own, 1))
        return found


class _SetrUp(_Head):
    """SETR's naive and progressive heads."""

    def __init__(self, shapes: Shapes, facts: Facts) -> None:
        super().__init__(shapes, facts)
        count = count_of(shapes, "up_convs.")
        scale = facts.up_scale or (4 if count == 1 else 2)
        self.norm = nn.LayerNorm(shapes["norm.weight"][0], 1e-6)
        self.up_convs = nn.ModuleList(
            nn.Sequential(Convolution(shapes.within(f"up_convs.{i}.0")), _Enlarged(scale, corners=self.corners))
            for i in range(count)
        )

    def features(self, maps: Maps) -> torch.Tensor:
        x = _normed(self.norm, maps[-1])
        for part in self.up_convs:
            x = part(x)
        return x


class _SetrMla(_Head):
    """SETR's head for aggregated features."""

    def __init__(self, shapes: Shapes, facts: Facts) -> None:
        super().__init__(shapes, facts)
        self.up_convs = nn.ModuleList(
            nn.Sequential(
                *(Convolution(shapes.within(f"up_convs.{i}.{j}")) for j in range(count_of(shapes, f"up_convs.{i}."))),
                _Enlarged(facts.up_scale or 4, corners=self.corners),
            )
            for i in range(count_of(shapes, "up_convs."))
        )

    def features(self, maps: Maps) -> torch.Tensor:
        return torch.cat([part(x) for part, x in zip(self.up_convs, maps, strict=True)], 1)


class _Enlarged(nn.Module):
    def __init__(self, scale: int, *, corners: bool) -> None:
        super().__init__()
        self.scale = scale
        self.corners = corners

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return resized(x, (x.shape[-2] * self.scale, x.shape[-1] * self.scale), corners=self.corners)


#: Title, class and characteristic tensors of each head by name. The first head with all its tensors is taken.
HEADS: dict[str, tuple[str, type[_Head], tuple[str, ...]]] = {
    "upernet": ("UPerNet", _UPer, ("psp_modules", "fpn_bottleneck")),
    "pspnet": ("PSPNet", _Pyramid, ("psp_modules", "bottleneck")),
    "deeplabv3plus": ("DeepLabV3+", _Aspp, ("aspp_modules", "sep_bottleneck")),
    "deeplabv3": ("DeepLabV3", _Aspp, ("aspp_modules", "image_pool", "bottleneck")),
    "fpn": ("Semantic FPN", _Fpn, ("scale_heads",)),
    "segformer": ("SegFormer", _Segformer, ("fusion_conv", "convs")),
    "setr": ("SETR", _SetrUp, ("up_convs", "norm")),
    "setr-mla": ("SETR MLA", _SetrMla, ("up_convs",)),
    "fcn": ("FCN", _Fcn, ()),
}


def head_of(shapes: Shapes) -> str:
    """Return the name of a head by the names of its tensors; empty if it is not in `HEADS`."""
    parts = {name.partition(".")[0] for name in shapes}
    found = next(name for name, (_, _, marks) in HEADS.items() if parts.issuperset(marks))
    return found if found != "fcn" or parts <= {"conv_seg", "convs", "conv_cat"} else ""


def _normed(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = norm(x.movedim(1, -1)).movedim(-1, 1)
    return found


def _numbered(shapes: Shapes, name: str, *, dilation: int = 1, active: bool = True) -> nn.ModuleList:
    return nn.ModuleList(
        Convolution(shapes.within(f"{name}.{i}"), dilation=dilation, active=active)
        for i in range(count_of(shapes, f"{name}."))
    )


def _plain_or_separable(shapes: Shapes, rate: int) -> nn.Module:
    separable = "depthwise_conv.conv.weight" in shapes
    return Separable(shapes, dilation=rate) if separable else Convolution(shapes, dilation=rate)

"""The networks of YOLOv8-seg and YOLO11-seg, written from descriptions and from names and shapes of their tensors.

Jocher, Chaurasia, Qiu: Ultralytics YOLOv8, 2023; Jocher, Qiu: Ultralytics YOLO11, 2024. The network has a backbone of
five levels, a feature pyramid up and down, and a head. For each place, the head returns a box (a distribution over 16
distances for each side), classes and 32 coefficients of masks (Bolya et al., YOLACT, ICCV 2019). YOLO11 adds attention
after the backbone. Shapes do not show sums around layers and activations; tests confirm them with ultralytics' outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["YoloSeg", "build_yolo"]

#: A tensor in the last layer of YOLO11; YOLOv8 has one layer less.
_HEAD_BEHIND_ATTENTION = "model.23.dfl.conv.weight"

#: Number of distances in the distribution of each side of a box, in cells of its level.
_BINS = 16
_STRIDES = (8, 16, 32)
#: Width of a head of attention; its queries and keys have half of it.
_HEAD_WIDTH = 64


class _Conv(nn.Module):
    """Convolution, normalisation and SiLU; depthwise if the weights have one input channel."""

    def __init__(self, shape: tuple[int, ...], stride: int = 1, *, active: bool = True) -> None:
        super().__init__()
        out, channels, kernel, _ = shape
        groups = out if channels == 1 else 1
        self.conv = nn.Conv2d(channels * groups, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3, momentum=0.03)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return nn.functional.silu(y) if self.active else y


class _Bottleneck(nn.Module):
    def __init__(self, shapes: _Shapes, name: str, *, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = _Conv(shapes.of(f"{name}.cv1"))
        self.cv2 = _Conv(shapes.of(f"{name}.cv2"))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class _Branches(nn.Module):
    """Several bottlenecks in parallel with one convolution, both joined (C3k)."""

    def __init__(self, shapes: _Shapes, name: str, *, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3 = (_Conv(shapes.of(f"{name}.{part}")) for part in ("cv1", "cv2", "cv3"))
        count = shapes.count(f"{name}.m")
        self.m = nn.Sequential(*(_Bottleneck(shapes, f"{name}.m.{i}", shortcut=shortcut) for i in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))
        return y


class _C2f(nn.Module):
    """Two halves, one of which passes several bottlenecks or branches; all of their results are joined (C2f, C3k2)."""

    def __init__(self, shapes: _Shapes, name: str, *, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = _Conv(shapes.of(f"{name}.cv1"))
        self.cv2 = _Conv(shapes.of(f"{name}.cv2"))
        parts = [f"{name}.m.{i}" for i in range(shapes.count(f"{name}.m"))]
        self.m = nn.ModuleList(
            (_Branches if shapes.has(f"{part}.cv3") else _Bottleneck)(shapes, part, shortcut=shortcut) for part in parts
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        for part in self.m:
            parts.append(part(parts[-1]))
        y: Tensor = self.cv2(torch.cat(parts, 1))
        return y


class _Attention(nn.Module):
    """Attention between all places, plus a convolution of the values that encodes their positions."""

    def __init__(self, shapes: _Shapes, name: str) -> None:
        super().__init__()
        self.qkv, self.proj, self.pe = (
            _Conv(shapes.of(f"{name}.{part}"), active=False) for part in ("qkv", "proj", "pe")
        )
        self.heads = max(1, shapes.of(f"{name}.proj")[0] // _HEAD_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, rows, columns = x.shape
        own = width // self.heads
        parts = self.qkv(x).view(batch, self.heads, -1, rows * columns).split([own // 2, own // 2, own], 2)
        queries, keys, values = (part.transpose(2, 3) for part in parts)
        seen = nn.functional.scaled_dot_product_attention(queries, keys, values)
        placed = self.pe(parts[2].reshape(batch, width, rows, columns))
        y: Tensor = self.proj(seen.transpose(2, 3).reshape(batch, width, rows, columns) + placed)
        return y


class _AttentionBlock(nn.Module):
    def __init__(self, shapes: _Shapes, name: str) -> None:
        super().__init__()
        self.attn = _Attention(shapes, f"{name}.attn")
        self.ffn = nn.Sequential(
            _Conv(shapes.of(f"{name}.ffn.0")), _Conv(shapes.of(f"{name}.ffn.1"), active=False)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        y: Tensor = x + self.ffn(x)
        return y


class _C2psa(nn.Module):
    """Two halves, one of which passes blocks of attention (C2PSA)."""

    def __init__(self, shapes: _Shapes, name: str) -> None:
        super().__init__()
        self.cv1 = _Conv(shapes.of(f"{name}.cv1"))
        self.cv2 = _Conv(shapes.of(f"{name}.cv2"))
        count = shapes.count(f"{name}.m")
        self.m = nn.Sequential(*(_AttentionBlock(shapes, f"{name}.m.{i}") for i in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        kept, seen = self.cv1(x).chunk(2, 1)
        y: Tensor = self.cv2(torch.cat([kept, self.m(seen)], 1))
        return y


class _Pooling(nn.Module):
    """Three maximum filters, one after the other (SPPF)."""

    def __init__(self, shapes: _Shapes, name: str) -> None:
        super().__init__()
        self.cv1 = _Conv(shapes.of(f"{name}.cv1"))
        self.cv2 = _Conv(shapes.of(f"{name}.cv2"))

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(nn.functional.max_pool2d(parts[-1], 5, 1, 2))
        y: Tensor = self.cv2(torch.cat(parts, 1))
        return y


class _Prototypes(nn.Module):
    """Prototype masks at a quarter of the picture's resolution, which are mixed for each object."""

    def __init__(self, shapes: _Shapes, name: str) -> None:
        super().__init__()
        self.cv1 = _Conv(shapes.of(f"{name}.cv1"))
        channels = shapes[f"{name}.upsample.weight"][0]
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.cv2 = _Conv(shapes.of(f"{name}.cv2"))
        self.cv3 = _Conv(shapes.of(f"{name}.cv3"))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cv3(self.cv2(self.upsample(self.cv1(x))))
        return y


class _Distances(nn.Module):
    """The expected distance of each side of a box, from its distribution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(_BINS, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, places = x.shape
        y: Tensor = self.conv(x.view(batch, 4, _BINS, places).transpose(2, 1).softmax(1))
        return y.view(batch, 4, places)


class _Head(nn.Module):
    def __init__(self, shapes: _Shapes, name: str) -> None:
        super().__init__()
        self.cv2, self.cv3, self.cv4 = (
            nn.ModuleList(
                nn.Sequential(
                    _step(shapes, f"{name}.{part}.{i}.0"),
                    _step(shapes, f"{name}.{part}.{i}.1"),
                    _last(shapes[f"{name}.{part}.{i}.2.weight"]),
                )
                for i in range(3)
            )
            for part in ("cv2", "cv3", "cv4")
        )
        self.dfl = _Distances()
        self.proto = _Prototypes(shapes, f"{name}.proto")

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        boxes = torch.cat([part(x).flatten(2) for part, x in zip(self.cv2, levels, strict=True)], 2)
        scores = torch.cat([part(x).flatten(2) for part, x in zip(self.cv3, levels, strict=True)], 2)
        weights = torch.cat([part(x).flatten(2) for part, x in zip(self.cv4, levels, strict=True)], 2)
        points, strides = _places(levels)
        before, behind = self.dfl(boxes).chunk(2, 1)
        first, last = points - before, points + behind
        boxes = torch.cat([(first + last) / 2, last - first], 1) * strides
        return torch.cat([boxes, scores.sigmoid(), weights], 1), self.proto(levels[0])


def _step(shapes: _Shapes, name: str) -> nn.Module:
    """Return a plain convolution, or a depthwise one followed by a pointwise one."""
    if shapes.has(name):
        return _Conv(shapes.of(name))
    return nn.Sequential(_Conv(shapes.of(f"{name}.0")), _Conv(shapes.of(f"{name}.1")))


def _last(shape: tuple[int, ...]) -> nn.Conv2d:
    return nn.Conv2d(shape[1], shape[0], 1)


def _places(levels: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the centres of all cells, (2, n) as x and y in cells, and the stride of each."""
    points, strides = [], []
    for x, stride in zip(levels, _STRIDES, strict=True):
        rows, columns = (torch.arange(n, device=x.device, dtype=x.dtype) + 0.5 for n in x.shape[-2:])
        y, across = torch.meshgrid(rows, columns, indexing="ij")
        points.append(torch.stack([across.flatten(), y.flatten()]))
        strides.append(torch.full((y.numel(),), float(stride), device=x.device, dtype=x.dtype))
    return torch.cat(points, 1), torch.cat(strides)


class YoloSeg(nn.Module):
    """YOLOv8-seg or YOLO11-seg, of any width and depth.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shapes of its tensors by the published names, such as ``model.0.conv.weight``.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        of = _Shapes(shapes)
        #: With attention after the backbone, all later layers have the next number, and all bottlenecks have shortcuts.
        attention = _HEAD_BEHIND_ATTENTION in shapes
        self.later = later = int(attention)
        layers: dict[str, nn.Module] = {}
        for i in (0, 1, 3, 5, 7, 16 + later, 19 + later):
            layers[str(i)] = _Conv(of.of(f"model.{i}"), stride=2)
        for i in (2, 4, 6, 8, 12 + later, 15 + later, 18 + later, 21 + later):
            layers[str(i)] = _C2f(of, f"model.{i}", shortcut=attention or i < 9)
        layers["9"] = _Pooling(of, "model.9")
        if attention:
            layers["10"] = _C2psa(of, "model.10")
        layers[str(22 + later)] = _Head(of, f"model.{22 + later}")
        self.model = nn.ModuleDict(layers)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions and prototypes of masks.

        Parameters
        ----------
        pictures : Tensor, shape (B, 3, M, N)
            0 to 1; sides are multiples of 32.

        Returns
        -------
        predictions : Tensor, shape (B, 4 + classes + 32, places)
            Centre x and y, width and height in pixels; probabilities of classes; weights of the prototypes.
        prototypes : Tensor, shape (B, 32, M / 4, N / 4)
        """
        layers = self.model
        x = pictures
        kept: dict[int, Tensor] = {}
        for i in range(10 + self.later):
            x = kept[i] = layers[str(i)](x)
        half = self._layer(12, _enlarged(x), kept[6])
        fine = self._layer(15, _enlarged(half), kept[4])
        middle = self._layer(18, self._layer(16, fine), half)
        coarse = self._layer(21, self._layer(19, middle), x)
        found: tuple[Tensor, Tensor] = layers[str(22 + self.later)]([fine, middle, coarse])
        return found

    def _layer(self, number: int, *parts: Tensor) -> Tensor:
        """Run a layer after the backbone, by its number in YOLOv8, on maps that are joined."""
        y: Tensor = self.model[str(number + self.later)](torch.cat(parts, 1))
        return y


def _enlarged(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


class _Shapes:
    """Shapes of tensors by name."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes

    def __getitem__(self, name: str) -> tuple[int, ...]:
        return tuple(self._shapes[name])

    def of(self, name: str) -> tuple[int, ...]:
        """Return the shape of a convolution's weights."""
        return self[f"{name}.conv.weight"]

    def has(self, name: str) -> bool:
        """Return whether there is a convolution of that name."""
        return f"{name}.conv.weight" in self._shapes

    def count(self, name: str) -> int:
        """Return how many numbered parts a list has."""
        return len({key[len(name) + 1 :].partition(".")[0] for key in self._shapes if key.startswith(f"{name}.")})


def build_yolo(shapes: Mapping[str, tuple[int, ...]]) -> YoloSeg:
    """Build the network that fits a checkpoint; raises KeyError or ValueError if none does."""
    return YoloSeg(shapes).eval()

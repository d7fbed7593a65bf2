"""The network of YOLOv8-seg, written from its published layout (names and shapes of tensors) and its description.

Jocher, Chaurasia, Qiu: Ultralytics YOLOv8, 2023. A backbone of five levels, a feature pyramid up and down, and a head
that returns for each place a box (a distribution over 16 distances for each side), classes and 32 coefficients of masks
(Bolya et al., YOLACT, ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["YoloSeg", "build_yolo"]

#: Distances that a side of a box is a distribution over, in cells of its level.
_BINS = 16
_STRIDES = (8, 16, 32)
#: Layers of the two ways of the pyramid that make the three levels.
_LEVELS = (15, 18, 21)


class _Conv(nn.Module):
    """Convolution, normalisation, SiLU."""

    def __init__(self, shape: tuple[int, ...], stride: int = 1) -> None:
        super().__init__()
        out, channels, kernel, _ = shape
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3, momentum=0.03)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = nn.functional.silu(self.bn(self.conv(x)))
        return y


class _Bottleneck(nn.Module):
    def __init__(self, shapes: _Shapes, name: str, *, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = _Conv(shapes.of(f"{name}.cv1"))
        self.cv2 = _Conv(shapes.of(f"{name}.cv2"))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class _C2f(nn.Module):
    """Two halves, one through several bottlenecks, all of their results joined."""

    def __init__(self, shapes: _Shapes, name: str, *, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = _Conv(shapes.of(f"{name}.cv1"))
        self.cv2 = _Conv(shapes.of(f"{name}.cv2"))
        count = shapes.count(f"{name}.m")
        self.m = nn.ModuleList(_Bottleneck(shapes, f"{name}.m.{i}", shortcut=shortcut) for i in range(count))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        for part in self.m:
            parts.append(part(parts[-1]))
        y: Tensor = self.cv2(torch.cat(parts, 1))
        return y


class _Pooling(nn.Module):
    """Three largest-value filters, one after the other (SPPF)."""

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
    """Masks that are mixed for each object, at a quarter of the picture's resolution."""

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
    """The expected distance of each side of a box."""

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
                    _Conv(shapes.of(f"{name}.{part}.{i}.0")),
                    _Conv(shapes.of(f"{name}.{part}.{i}.1")),
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
    """YOLOv8-seg, of any width and depth.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shapes of its tensors by the published names, such as ``model.0.conv.weight``.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        of = _Shapes(shapes)
        layers: dict[str, nn.Module] = {}
        for i in (0, 1, 3, 5, 7, 16, 19):
            layers[str(i)] = _Conv(of.of(f"model.{i}"), stride=2)
        for i in (2, 4, 6, 8, 12, 15, 18, 21):
            layers[str(i)] = _C2f(of, f"model.{i}", shortcut=i < 9)
        layers["9"] = _Pooling(of, "model.9")
        layers["22"] = _Head(of, "model.22")
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
        for i in range(10):
            x = kept[i] = layers[str(i)](x)
        kept[12] = layers["12"](torch.cat([_enlarged(x), kept[6]], 1))
        kept[15] = layers["15"](torch.cat([_enlarged(kept[12]), kept[4]], 1))
        kept[18] = layers["18"](torch.cat([layers["16"](kept[15]), kept[12]], 1))
        kept[21] = layers["21"](torch.cat([layers["19"](kept[18]), kept[9]], 1))
        found: tuple[Tensor, Tensor] = layers["22"]([kept[i] for i in _LEVELS])
        return found


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

    def count(self, name: str) -> int:
        """Return how many numbered parts a list has."""
        return len({key[len(name) + 1 :].partition(".")[0] for key in self._shapes if key.startswith(f"{name}.")})


def build_yolo(shapes: Mapping[str, tuple[int, ...]]) -> YoloSeg:
    """Build the network that fits a checkpoint; KeyError or ValueError if it is none."""
    return YoloSeg(shapes).eval()

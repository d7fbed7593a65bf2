"""CLIP's residual network with attention pooling, as RegionCLIP applies it to parts of a picture.

Radford et al., ICML 2021 (three convolutions at the start, averaging before each stride, attention in place of the
last average); Zhong et al., CVPR 2022 (the first three stages see the picture, the fourth and the attention each part).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

__all__ = ["ClipResnet", "build_clip_resnet"]

#: Pixels of the picture per cell of the third stage.
_STRIDE = 16
#: Channels of a head of the attention.
_HEAD = 64


class _Block(nn.Module):
    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        out = 4 * inner
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.stride = stride
        self.downsample: nn.Sequential | None = None
        if stride > 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(_averaged(y, self.stride)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(_averaged(x, self.stride))))


def _averaged(x: Tensor, stride: int) -> Tensor:
    return nn.functional.avg_pool2d(x, stride) if stride > 1 else x


class _AttentionPool(nn.Module):
    """Attention pooling, where the mean of all places is the query."""

    def __init__(self, places: int, channels: int, out: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(places + 1, channels))
        self.k_proj, self.q_proj, self.v_proj = (nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = nn.Linear(channels, out)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + self.positional_embedding
        query, key, value = (
            part(of).view(batch, -1, channels // _HEAD, _HEAD).transpose(1, 2)
            for part, of in ((self.q_proj, tokens[:, :1]), (self.k_proj, tokens), (self.v_proj, tokens))
        )
        found = nn.functional.scaled_dot_product_attention(query, key, value)
        pooled: Tensor = self.c_proj(found.transpose(1, 2).reshape(batch, channels))
        return pooled


class ClipResnet(nn.Module):
    """The network, whose parts have the published names.

    Parameters
    ----------
    width : int
        Channels after the first three convolutions.
    depths : tuple of int
        Blocks of each stage.
    side : int
        Cells along each side of the attention's input.
    out : int
        Length of an embedding.
    """

    def __init__(self, width: int, depths: tuple[int, ...], side: int, out: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        channels = width
        stages = []
        for stage, depth in enumerate(depths):
            inner = width << stage
            blocks = [_Block(channels, inner, 2 if stage else 1)]
            blocks += [_Block(4 * inner, inner, 1) for _ in range(depth - 1)]
            channels = 4 * inner
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.attnpool = _AttentionPool(side**2, channels, out)
        self.side = side

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the features of the third stage, (B, C, M / 16, N / 16), of pictures (B, 3, M, N)."""
        x = pictures
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = torch.relu(norm(conv(x)))
        x = nn.functional.avg_pool2d(x, 2)
        found: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return found

    def embed(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Return the embeddings (K, D) of boxes (K, 4), x0, y0, x1, y1 in pixels, of the one picture of `features`."""
        parts = roi_align(features, [boxes], 2 * self.side, 1 / _STRIDE, sampling_ratio=0, aligned=True)
        found: Tensor = self.attnpool(self.layer4(parts))
        return found


def build_clip_resnet(shapes: Mapping[str, tuple[int, ...]]) -> ClipResnet:
    """Build the network that fits tensors under their published names; raises KeyError or ValueError if none does.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shapes of the tensors.
    """
    depths = tuple(
        len({name.split(".")[1] for name in shapes if name.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4)
    )
    if not all(depths):
        raise ValueError("a stage is missing")
    side = round((shapes["attnpool.positional_embedding"][0] - 1) ** 0.5)
    return ClipResnet(shapes["conv3.weight"][0], depths, side, shapes["attnpool.c_proj.weight"][0]).eval()

"""Building blocks of `foundseg-tiny`: convolution blocks and the maps that prompts are drawn as."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNorm(nn.Sequential):
    """A convolution, its batch normalisation and, unless `act` is false, a ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1, act: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if act else []))


class Residual(nn.Module):
    """Two 3×3 convolutions with a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, width)
        self.conv2 = ConvNorm(width, width, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` refined, same shape `(B, width, H, W)`."""
        return F.relu(x + self.conv2(self.conv1(x)))


class Mixer(nn.Module):
    """A wide depthwise convolution and a pointwise network, with a shortcut (as in ConvNeXt)."""

    def __init__(self, width: int, size: int = 7, expansion: int = 2) -> None:
        super().__init__()
        self.spread = nn.Conv2d(width, width, size, padding=size // 2, groups=width, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.widen = nn.Conv2d(width, expansion * width, 1)
        # Starts at zero. Without a norm here, three of these grew without bound, and the layers after them died.
        self.narrow = ConvNorm(expansion * width, width, 1, act=False)
        nn.init.zeros_(self.narrow.get_parameter("1.weight"))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` refined, same shape `(B, width, H, W)`."""
        out: Tensor = x + self.narrow(F.relu(self.widen(self.norm(self.spread(x)))))
        return out


class Narrow(nn.Module):
    """Two 3×3 convolutions through half the width, the first dilated, with a shortcut."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.squeeze = nn.Conv2d(width, width // 2, 3, padding=dilation, dilation=dilation)
        self.expand = nn.Conv2d(width // 2, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` refined, same shape `(B, width, H, W)`."""
        out: Tensor = x + self.expand(F.relu_(self.squeeze(self.norm(x))))
        return out


def enlarge(x: Tensor) -> Tensor:
    """Enlarge the map of a strided 3×3 convolution 2×: its pixel i is centred on pixel 2 i of the finer map.

    Plain bilinear enlargement puts it between 2 i and 2 i + 1. Over five levels, that shifts the coarsest map by
    15 pixels.

    Parameters
    ----------
    x : Tensor, shape (B, C, H, W)

    Returns
    -------
    Tensor, shape (B, C, 2 H, 2 W)
    """
    size = (2 * x.shape[-2] - 1, 2 * x.shape[-1] - 1)
    return F.pad(F.interpolate(x, size, mode="bilinear", align_corners=True), (0, 1, 0, 1), mode="replicate")


class Merge(nn.Module):
    """A layer that enlarges a coarse map 2×, adds a finer one, and refines the sum."""

    def __init__(self, coarse: int, fine: int, outputs: int, depth: int) -> None:
        super().__init__()
        # Both are normalised, so that neither map dominates the other.
        self.reduce = ConvNorm(coarse, outputs, 1, act=False)
        self.lateral = ConvNorm(fine, outputs, 1, act=False)
        self.refine = nn.Sequential(*[ConvNorm(outputs, outputs) for _ in range(depth)])

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Return the merged map, `(B, outputs, H, W)` for `fine` of shape `(B, C, H, W)`."""
        out: Tensor = self.refine(enlarge(self.reduce(coarse)) + self.lateral(fine))
        return out


def draw_points(coords: Tensor, labels: Tensor, size: int, stride: float, widths: tuple[float, ...]) -> Tensor:
    """Draw positive and negative clicks as Gaussians.

    Parameters
    ----------
    coords : Tensor, shape (B, N, 2)
        Clicks (x, y) in input pixels, measured from the outer corner of the first pixel.
    labels : Tensor, shape (B, N)
        1 positive, 0 negative; anything else is not drawn.
    size : int
        Side of the maps.
    stride : float
        Input pixels per map pixel.
    widths : tuple of float
        Standard deviations in input pixels.

    Returns
    -------
    Tensor, shape (B, 2 * len(widths), size, size)
    """
    axis = (torch.arange(size, device=coords.device, dtype=coords.dtype) + 0.5) * stride
    away = (axis[None, None] - coords[..., 0, None]) ** 2, (axis[None, None] - coords[..., 1, None]) ** 2
    maps = []
    for sign in (1, 0):
        shown = (labels == sign).to(coords.dtype)[..., None]
        for width in widths:
            across, down = (torch.exp(-d / (2 * width**2)) for d in away)
            maps.append(torch.einsum("bny,bnx->byx", down * shown, across).clamp(max=1.0))
    return torch.stack(maps, dim=1)


def draw_boxes(boxes: Tensor, size: int, stride: float) -> Tensor:
    """Draw the inside of boxes and the ellipses inscribed in them, with soft edges.

    Parameters
    ----------
    boxes : Tensor, shape (B, 4)
        (x0, y0, x1, y1) in input pixels, measured from the outer corner of the first pixel.
    size : int
        Side of the maps.
    stride : float
        Input pixels per map pixel.

    Returns
    -------
    Tensor, shape (B, 2, size, size)
    """
    axis = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) * stride
    low = boxes[:, :2, None]
    high = boxes[:, 2:, None]
    half = ((high - low) / 2).clamp(min=stride)
    depth = half - (axis - (low + high) / 2).abs()
    sides = torch.sigmoid(depth / stride * 2)
    inside = sides[:, 1, :, None] * sides[:, 0, None, :]
    radius = ((axis - (low + high) / 2) / half) ** 2
    round_ = (radius[:, 1, :, None] + radius[:, 0, None, :]).clamp(min=1e-6).sqrt()
    ellipse = torch.sigmoid((1 - round_) * half.amin(dim=1)[..., None] / stride * 2)
    return torch.stack([inside, ellipse], dim=1)

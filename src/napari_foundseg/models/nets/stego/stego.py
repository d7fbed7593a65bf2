"""STEGO's networks and losses, written from the paper's formulas.

Hamilton et al., Unsupervised Semantic Segmentation by Distilling Feature Correspondences, ICLR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "PRESETS",
    "ClusterProbe",
    "CorrespondenceSettings",
    "SegmentationHead",
    "correspondence_loss",
    "permutation_without_self",
    "random_coordinates",
    "sample_at",
    "total_loss",
]

#: Smallest norm that features are divided by.
_EPS = 1e-10
#: Upper bound of code correspondences in a stabilised loss.
_STABLE = 0.8


@dataclass(frozen=True)
class CorrespondenceSettings:
    """Weights and biases of the correspondence loss, and its switches.

    Parameters
    ----------
    weight_self, weight_knn, weight_rand : float
        Weights of an image's pairs with itself, its nearest neighbours and random images (the paper's lambda).
    bias_self, bias_knn, bias_rand : float
        How far features must correspond before codes are drawn together (the paper's b).
    pointwise : bool
        Whether the mean over the partner's points is subtracted from each point's correspondences.
    zero_clamp : bool
        Whether code correspondences below zero are set to zero.
    stabilised : bool
        Whether code correspondences above 0.8 are set to 0.8.
    feature_samples : int
        Points along each side of the random grid.
    neg_samples : int
        Number of random partners of each image.
    """

    weight_self: float = 0.67
    weight_knn: float = 0.25
    weight_rand: float = 0.63
    bias_self: float = 0.18
    bias_knn: float = 0.12
    bias_rand: float = 0.46
    pointwise: bool = True
    zero_clamp: bool = True
    stabilised: bool = False
    feature_samples: int = 11
    neg_samples: int = 5


def _published(
    weight_rand: float, weight_knn: float, weight_self: float, bias_rand: float, bias_knn: float, bias_self: float
) -> CorrespondenceSettings:
    return CorrespondenceSettings(weight_self, weight_knn, weight_rand, bias_self, bias_knn, bias_rand)


#: The settings of the reference repository, by the data and backbone that they were found for.
PRESETS = {
    "directory": _published(0.63, 0.25, 0.67, 0.46, 0.12, 0.18),
    "potsdam": _published(0.63, 0.25, 0.67, 0.46, 0.02, 0.08),
    "cocostuff27-vit-small": _published(0.63, 0.25, 0.67, 0.66, 0.02, 0.08),
    "cocostuff27-vit-small-10-3": _published(0.63, 0.25, 0.67, 0.16, 0.02, 0.08),
    "cocostuff27-vit-base": _published(0.1538476, 1.0, 0.1, 1.0, 0.2, 0.12),
    "cocostuff27-moco": _published(0.63, 0.25, 0.67, 0.26, 0.36, 0.32),
    "cocostuff27-older": _published(0.72, 0.80, 0.29, 0.86, 0.04, 0.34),
    "cityscapes": _published(0.9058763, 0.5774535, 1.0, 0.3136124, 0.1754347, 0.4582847),
    "cityscapes-older": _published(0.72, 0.18, 0.46, 0.25, 0.20, 0.25),
}


class SegmentationHead(nn.Module):
    """Head from features to codes: the sum of a linear map and a small network (the paper's section 3.2).

    Parameters
    ----------
    inputs : int
        Channels of the features.
    dim : int
        Channels of the codes.
    dropout : float
        Share of channels that is dropped while the head is fitted.
    """

    def __init__(self, inputs: int, dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.cluster1 = nn.Sequential(nn.Conv2d(inputs, dim, 1))
        self.cluster2 = nn.Sequential(nn.Conv2d(inputs, inputs, 1), nn.ReLU(), nn.Conv2d(inputs, dim, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return codes, `(B, dim, H, W)`, of features, `(B, inputs, H, W)`."""
        out: Tensor = self.cluster1(self.dropout(features)) + self.cluster2(self.dropout(features))
        return out

    def begin_with(self, directions: Tensor) -> None:
        """Set the codes to the features along `directions`, `(n, inputs)`; all further channels of the codes to 0."""
        with torch.no_grad():
            for last in (self.cluster1[0], self.cluster2[2]):
                for parameter in last.parameters():
                    parameter.zero_()
            weight = self.cluster1.get_parameter("0.weight")
            count = min(len(directions), len(weight))
            weight[:count, :, 0, 0] = directions[:count]


class ClusterProbe(nn.Module):
    """Clusters as directions in the space of codes.

    Parameters
    ----------
    dim : int
        Channels of the codes.
    clusters : int
        Number of clusters.
    """

    def __init__(self, dim: int, clusters: int) -> None:
        super().__init__()
        self.clusters = nn.Parameter(torch.randn(clusters, dim))

    def similarities(self, codes: Tensor) -> Tensor:
        """Return the cosine of each code with each cluster, `(B, clusters, H, W)`."""
        return torch.einsum("bchw,nc->bnhw", F.normalize(codes, dim=1), F.normalize(self.clusters, dim=1))

    def loss(self, codes: Tensor) -> Tensor:
        """Return the negative mean cosine of codes with their nearest cluster; no gradient flows to the codes."""
        return -self.similarities(codes.detach()).amax(dim=1).mean()

    def forward(self, codes: Tensor, alpha: float = 2.0) -> Tensor:
        """Return log-probabilities, `(B, clusters, H, W)`, of cosines times `alpha`."""
        return F.log_softmax(self.similarities(codes) * alpha, dim=1)


def random_coordinates(count: int, samples: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw the points at which images are compared.

    Parameters
    ----------
    count : int
        Number of images.
    samples : int
        Points along each side.
    generator : torch.Generator, optional
        Source of random numbers.

    Returns
    -------
    Tensor, shape (count, samples, samples, 2)
        (x, y), -1 to 1 from the first to the last cell.
    """
    return torch.rand(count, samples, samples, 2, generator=generator) * 2 - 1


def sample_at(maps: Tensor, coordinates: Tensor) -> Tensor:
    """Return maps at points, interpolated between their cells.

    Parameters
    ----------
    maps : Tensor, shape (B, C, H, W)
        Features or codes.
    coordinates : Tensor, shape (B, S, S, 2)
        Points, as `random_coordinates` returns them.

    Returns
    -------
    Tensor, shape (B, C, S, S)
    """
    return F.grid_sample(maps, coordinates, mode="bilinear", padding_mode="border", align_corners=True)


def permutation_without_self(count: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw a partner for each image. It is another image, if there are two or more.

    Parameters
    ----------
    count : int
        Number of images.
    generator : torch.Generator, optional
        Source of random numbers.

    Returns
    -------
    Tensor, shape (count,)
    """
    perm = torch.randperm(count, generator=generator)
    own = perm == torch.arange(count)
    return torch.where(own, (perm + 1) % count, perm)


def correspondences(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of every point of `a` with every point of `b`.

    Parameters
    ----------
    a, b : Tensor, shapes (N, C, H, W) and (N, C, I, J)

    Returns
    -------
    Tensor, shape (N, H, W, I, J)
    """
    return torch.einsum("nchw,ncij->nhwij", F.normalize(a, dim=1, eps=_EPS), F.normalize(b, dim=1, eps=_EPS))


def correspondence_loss(
    features: Tensor,
    partner_features: Tensor,
    codes: Tensor,
    partner_codes: Tensor,
    bias: float,
    *,
    pointwise: bool = True,
    zero_clamp: bool = True,
    stabilised: bool = False,
) -> Tensor:
    """Return a loss that draws codes together where features correspond, else apart (the paper's equations 2 to 4).

    With `fd` the correspondences of features and `cd` those of codes, the loss is ``-clamp(cd) (fd - bias)``.
    If `pointwise`, each point's mean over its partner's points is subtracted from `fd`. Then the mean of all `fd` is
    restored.

    Parameters
    ----------
    features, partner_features : Tensor, shape (N, C, S, S)
        Features at the same points as the codes; no gradient flows to them.
    codes, partner_codes : Tensor, shape (N, D, S, S)
        Codes of an image and of its partner.
    bias : float
        How far features must correspond before codes are drawn together.
    pointwise, zero_clamp, stabilised : bool
        As in `CorrespondenceSettings`.

    Returns
    -------
    Tensor, shape (N, S, S, S, S)
        The loss of each pair of points.
    """
    with torch.no_grad():
        fd = correspondences(features, partner_features)
        if pointwise:
            mean = fd.mean()
            fd = fd - fd.mean(dim=(3, 4), keepdim=True)
            fd = fd - fd.mean() + mean
    cd = correspondences(codes, partner_codes)
    cd = cd.clamp(min=0.0 if zero_clamp else -torch.inf, max=_STABLE if stabilised else torch.inf)
    return -cd * (fd - bias)


def total_loss(
    settings: CorrespondenceSettings,
    own: tuple[Tensor, Tensor],
    neighbours: tuple[Tensor, Tensor],
    random: list[tuple[Tensor, Tensor]],
) -> Tensor:
    """Return the weighted sum of the losses of self, neighbour and random pairs (the paper's equation 5).

    Parameters
    ----------
    settings : CorrespondenceSettings
        Weights, biases and switches.
    own, neighbours : tuple of Tensor, shapes (N, C, S, S) and (N, D, S, S)
        Features and codes at the same points.
    random : list of such tuples
        Features and codes of random images; their losses are averaged.

    Returns
    -------
    Tensor
        The loss, a number.
    """

    def loss(partner: tuple[Tensor, Tensor], bias: float) -> Tensor:
        return correspondence_loss(
            own[0], partner[0], own[1], partner[1], bias,
            pointwise=settings.pointwise, zero_clamp=settings.zero_clamp, stabilised=settings.stabilised,
        ).mean()  # fmt: skip

    total = settings.weight_self * loss(own, settings.bias_self)
    total = total + settings.weight_knn * loss(neighbours, settings.bias_knn)
    if random:
        total = total + settings.weight_rand * torch.stack([loss(one, settings.bias_rand) for one in random]).mean()
    return total

"""The whole network of EfficientPS."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from napari_foundseg.models.nets.classes.efficientps.encoder import Encoder, TwoWayPyramid
from napari_foundseg.models.nets.classes.efficientps.heads import InstanceHead, SemanticHead

__all__ = ["STRIDE", "EfficientPS", "Found"]

#: Sides of pictures must be multiples of it.
STRIDE = 32


class Found(NamedTuple):
    """Output of the network for a picture."""

    classes: Tensor
    """Scores of the classes before a softmax, (K, M, N)."""
    boxes: Tensor
    """(x0, y0, x1, y1) of objects, (n, 4)."""
    things: Tensor
    """Class numbers of the things from 0, (n,)."""
    scores: Tensor
    """Their scores, (n,)."""
    masks: Tensor
    """Logits of their masks in their boxes, (n, 28, 28)."""


class EfficientPS(nn.Module):
    """Network for classes of pixels and for objects, with one encoder; by default the paper's.

    Parameters
    ----------
    classes, things : int
        Number of classes, and number of those that come in objects.
    width, depth : float
        Scales of the EfficientNet; by default those of B5.
    channels, hidden : int
        Channels of the pyramid, and of the two layers that classify boxes.
    """

    def __init__(
        self, classes: int, things: int, width: float = 1.6, depth: float = 2.2, channels: int = 256, hidden: int = 1024
    ) -> None:
        super().__init__()
        self.encoder = Encoder(width, depth)
        self.pyramid = TwoWayPyramid(self.encoder.channels, channels)
        self.semantic = SemanticHead(channels, classes)
        self.instances = InstanceHead(channels, things, hidden)

    def forward(self, pictures: Tensor, least: float = 0.5) -> Found:
        """Run the network.

        Parameters
        ----------
        pictures : (1, 3, M, N) Tensor of float
            A normalised picture whose sides are multiples of `STRIDE`.
        least : float
            Least score of an object.

        Returns
        -------
        Found
            At the picture's resolution.
        """
        features = self.pyramid(self.encoder(pictures))
        shape = (pictures.shape[-2], pictures.shape[-1])
        scores = F.interpolate(self.semantic(features), shape, mode="bilinear", align_corners=False)
        return Found(scores[0], *self.instances(features, shape, least))

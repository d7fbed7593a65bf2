"""What a task may ask of a model: a protocol, never a class. Those of classes and words are in `class_protocols`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.clusters.clusters import Clusters
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.prompts import Prompt

__all__ = [
    "Candidates",
    "Embedding",
    "FeatureExtractor",
    "GridOptions",
    "InstanceDecoding",
    "Model",
    "PointGrid",
    "Promptable",
]


class Model(Protocol):
    """What every loaded model has."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""

    @property
    def key(self) -> str:
        """Name and hash of the weights: equal keys give equal results."""

    @property
    def device(self) -> str:
        """Where it runs, as torch writes it."""

    @property
    def window(self) -> int:
        """Side in pixels of the square that the encoder sees at once."""


class Embedding(Protocol):
    """An encoded picture, to be decoded with any number of prompts."""

    @property
    def nbytes(self) -> int:
        """Memory it holds."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The masks that a model proposes for one prompt.

    Parameters
    ----------
    logits : (K, M, N) ndarray of float32
        Positive inside, at the resolution of the encoded picture.
    predicted_iou : (K,) ndarray of float32
        The model's own estimate of each mask's IoU with the object.
    stability_score : (K,) ndarray of float32
        IoU of each mask at a threshold 1 above and 1 below (Kirillov et al. 2023, section 5).
    """

    logits: NDArray[np.float32]
    predicted_iou: NDArray[np.float32]
    stability_score: NDArray[np.float32]


class Promptable(Model, Protocol):
    """Turns points, boxes and masks into masks."""

    def encode(self, rgb: NDArray[np.uint8]) -> Embedding:
        """Encode a picture of any size, its longer side resized to `window`.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.

        Returns
        -------
        Embedding
            For `decode`.
        """

    def decode(
        self, embedding: Any, prompts: Sequence[Prompt], *, multimask: bool, one_by_one: bool = False
    ) -> list[Candidates]:
        """Decode prompts in an encoded picture.

        Parameters
        ----------
        embedding : Embedding
            What `encode` returned.
        prompts : sequence of Prompt
            In pixels (y, x) of the picture.
        multimask : bool
            Whether to propose several masks for each.
        one_by_one : bool
            Whether clicks are given one after the other, each with the mask before.

        Returns
        -------
        list of Candidates
            One for each prompt.
        """


class InstanceDecoding(Model, Protocol):
    """Gives the maps from which `core.watershed.instances` makes instances."""

    @property
    def maps_window(self) -> int:
        """Largest side in pixels of a picture that is decoded as it is, a multiple of 32."""

    def instance_maps(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Decode the maps of a picture.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture; one larger than `maps_window` is shrunk to it and its maps are enlarged again.

        Returns
        -------
        (3, M, N) ndarray of float32
            Foreground, centre distance and boundary distance, 0 to 1.
        """


@dataclass(frozen=True)
class GridOptions:
    """Options of SAM's automatic mask generator, under its own names."""

    points_per_batch: int
    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float
    exact: bool = True
    """Whether masks are those of float32; else the device's half precision serves where it is faster."""


class PointGrid(Promptable, Protocol):
    """Makes masks from a grid of points."""

    def grid_masks(
        self, embedding: Any, points: NDArray[np.float64], options: GridOptions, poll: Callable[[], None]
    ) -> list[Mask]:
        """Prompt the model at every point of an encoded picture; three masks a point.

        Parameters
        ----------
        embedding : Embedding
            What `encode` returned.
        points : (K, 2) ndarray of float
            (x, y) as shares of width and height, 0 to 1, as the generator's own ``point_grids``.
        options : GridOptions
            Masks below its thresholds are not made.
        poll : callable
            Called before every batch of points; may raise to stop.

        Returns
        -------
        list of Mask
            In the picture's pixels, in the order of the points; none is suppressed for another.
        """


class FeatureExtractor(Model, Protocol):
    """Describes every place of a picture by a vector (dense features)."""

    @property
    def features_window(self) -> int:
        """Largest side in pixels of a picture that is described as it is, a multiple of the stride."""

    @property
    def feature_stride(self) -> int:
        """Pixels of the picture a cell of the features."""

    @property
    def feature_offset(self) -> float:
        """On which pixel the first cell lies."""

    @property
    def feature_margin(self) -> int:
        """Pixels at a window's border where features differ from those of a larger window."""

    def features(self, rgb: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Describe a picture.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.

        Returns
        -------
        (D, H, W) ndarray of float16
            Of H = ceil(M / stride) by W = ceil(N / stride) cells.
        """


class Clustering(FeatureExtractor, Protocol):
    """Features that were fitted to images for clusters (codes), and the clusters that were found in them."""

    @property
    def sample(self) -> NDArray[np.float32]:
        """Codes of the images that it was fitted to, (n, D), for clusters of any number; empty where none are kept."""

    @property
    def clusters(self) -> Clusters:
        """The clusters that it was saved with."""

    @property
    def linear(self) -> Clusters | None:
        """Classes that were learnt from labels, where it has them."""

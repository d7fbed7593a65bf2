"""Protocols of models for prompts, objects, features and clusters.

Other modules of this folder have the protocols for classes, for words, for volumes, and for following objects through
frames.

A model family lists the protocols that its models may implement. Each catalogue row of the family lists those of its
file. The optional protocols (`OPTIONAL`) are not listed: the package detects them on the loaded model. Loading fails
if a model implements only a part of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.clusters.clusters import Clusters
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.out_of_memory import Fallbacks

__all__ = [
    "OPTIONAL",
    "Candidates",
    "Clustering",
    "Embedding",
    "EmbeddingMaps",
    "Encoder",
    "FeatureExtractor",
    "FlowDecoding",
    "GridOptions",
    "InstanceDecoding",
    "MemoryRescue",
    "Model",
    "NucleusDecoding",
    "PointGrid",
    "Promptable",
    "SavableClustering",
    "StorableEmbeddings",
]


class Model(Protocol):
    """Any loaded model."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""

    @property
    def key(self) -> str:
        """Name and hash of the weights: equal keys give equal results."""

    @property
    def device(self) -> str:
        """Device that it runs on, such as ``cuda:0``."""

    @property
    def window(self) -> int:
        """Side in pixels of the square that the network sees at once."""


class Embedding(Protocol):
    """An encoded picture, which can be decoded with any number of prompts."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds."""


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


class Encoder(Model, Protocol):
    """Encodes a picture once, for all later decoding. Embeddings of every encoder are kept in memory."""

    def encode(self, rgb: NDArray[np.uint8]) -> Any:
        """Encode a picture.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            A picture of any size; its longer side is resized to `window`.

        Returns
        -------
        Embedding
            An object with the property `nbytes`.
        """


class Promptable(Encoder, Protocol):
    """Predicts masks from points, boxes and masks."""

    def decode(
        self, embedding: Any, prompts: Sequence[Prompt], *, multimask: bool, one_by_one: bool = False
    ) -> list[Candidates]:
        """Decode prompts in an encoded picture.

        Parameters
        ----------
        embedding : Embedding
            Result of `encode`.
        prompts : sequence of Prompt
            In pixels (y, x) of the picture.
        multimask : bool
            Whether to propose several masks for each prompt.
        one_by_one : bool
            Whether to pass clicks one after another, each with the mask that the earlier clicks gave.

        Returns
        -------
        list of Candidates
            One for each prompt.
        """


class InstanceDecoding(Model, Protocol):
    """Decodes maps, from which `core.watershed.instances` makes instances."""

    @property
    def maps_window(self) -> int:
        """Largest side, in pixels, of a picture that is decoded without shrinking; a multiple of 32."""

    def instance_maps(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Decode the maps of a picture.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture. If it is larger than `maps_window`, it is shrunk, and its maps are enlarged again.

        Returns
        -------
        (3, M, N) ndarray of float32
            Foreground, centre distance and boundary distance, 0 to 1.
        """


class NucleusDecoding(InstanceDecoding, Protocol):
    """Instance decoding of nuclei: every pixel is nucleus or background."""


class FlowDecoding(Model, Protocol):
    """Decodes maps, from which `core.flows.flow_instances` makes instances."""

    def flow_maps(self, picture: NDArray[np.float32], poll: Callable[[], None]) -> NDArray[np.float32]:
        """Decode the maps of a picture.

        Parameters
        ----------
        picture : (M, N, C) ndarray of float32
            The picture, with 1 to 3 channels. Each is scaled: its 1st percentile is 0, its 99th percentile is 1.
        poll : callable
            Called before every batch of tiles; may raise to stop.

        Returns
        -------
        (3, M, N) ndarray of float32
            Flow along rows, flow along columns, and the logit of the object probability. Flows are five times as
            long as the steps that are taken along them.
        """


@dataclass(frozen=True)
class GridOptions:
    """Options of SAM's automatic mask generator, with the names that it uses."""

    points_per_batch: int
    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float
    exact: bool = True
    """Whether masks are computed in float32; otherwise in the device's half precision where that is faster."""


class PointGrid(Promptable, Protocol):
    """Makes masks from a grid of points, like SAM's automatic mask generator."""

    def grid_masks(
        self, embedding: Any, points: NDArray[np.float64], options: GridOptions, poll: Callable[[], None]
    ) -> list[Mask]:
        """Prompt the model at every point of an encoded picture; each point gives three masks.

        Parameters
        ----------
        embedding : Embedding
            Result of `encode`.
        points : (K, 2) ndarray of float
            (x, y) as fractions of width and height, 0 to 1, like the generator's ``point_grids``.
        options : GridOptions
            Options, with the thresholds below which masks are dropped.
        poll : callable
            Called before every batch of points; may raise to stop.

        Returns
        -------
        list of Mask
            In pixels of the picture, in the order of the points. Overlapping masks are not removed.
        """


class FeatureExtractor(Model, Protocol):
    """Computes a vector of features for every position of a picture."""

    @property
    def features_window(self) -> int:
        """Largest side, in pixels, of a picture that is described without shrinking; a multiple of the stride."""

    @property
    def feature_stride(self) -> int:
        """Pixels of the picture per cell of the features, along each axis."""

    @property
    def feature_offset(self) -> float:
        """Position in pixels of the first cell, along each axis."""

    @property
    def feature_margin(self) -> int:
        """Width, in pixels, of the border of a window where features differ from those of a larger window."""

    def features(self, rgb: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Compute the features of a picture.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.

        Returns
        -------
        (D, H, W) ndarray of float16
            One vector of length D per cell, with H = ceil(M / stride) and W = ceil(N / stride).
        """


class Clustering(FeatureExtractor, Protocol):
    """Features that were fitted to images (codes), with the clusters that were found in them."""

    @property
    def sample(self) -> NDArray[np.float32]:
        """Codes of the images that the model was fitted to, (n, D), to find other numbers of clusters. May be empty."""

    @property
    def clusters(self) -> Clusters:
        """The clusters that were saved with the model."""

    @property
    def linear(self) -> Clusters | None:
        """Classes that were learnt from labels; None if there are none."""


@runtime_checkable
class SavableClustering(Clustering, Protocol):
    """Optional: a model fitted by this package. It can be written to another folder, with other clusters or classes."""

    def save_as(self, folder: Path, *, clusters: Clusters | None = None, linear: Clusters | None = None) -> None:
        """Write the model to a folder that the family can load.

        Parameters
        ----------
        folder : Path
            Replaced if it exists.
        clusters : Clusters, optional
            Clusters to write in place of the model's.
        linear : Clusters, optional
            Classes to write in place of the model's.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """


@runtime_checkable
class StorableEmbeddings(Protocol):
    """Optional, for an `Encoder`: embeddings are also kept on disk, for other processes."""

    @property
    def preprocessing(self) -> str:
        """Name of the preparation in `encode`. Equal weights and equal names mean equal embeddings."""

    @property
    def stored_as(self) -> Literal["float16", "float32"]:
        """Precision of `packed`. With float16, new embeddings are rounded too, so that all processes use equal ones."""

    def packed(self, embedding: Any) -> bytes:
        """Return an embedding as bytes, with numbers in the precision `stored_as`.

        Parameters
        ----------
        embedding : Embedding
            Result of `encode`.

        Returns
        -------
        bytes
            All that `unpacked` needs, in any process.
        """

    def unpacked(self, data: bytes) -> Any:
        """Restore an embedding from the bytes of `packed`, on the model's device.

        Parameters
        ----------
        data : bytes
            Result of `packed` of a model with the same weights and `preprocessing`.

        Returns
        -------
        Embedding
            It gives the same masks as the embedding that was packed.
        """


@runtime_checkable
class EmbeddingMaps(InstanceDecoding, Encoder, Protocol):
    """Optional: the maps can be decoded from the same embedding that prompts use."""

    def maps_of(self, embedding: Any) -> NDArray[np.float32]:
        """Decode the maps of an encoded picture.

        Parameters
        ----------
        embedding : Embedding
            Result of `encode`.

        Returns
        -------
        (3, M, N) ndarray of float32
            The maps that `InstanceDecoding.instance_maps` returns for a picture as large as a window.
        """


@runtime_checkable
class MemoryRescue(Protocol):
    """Optional: when memory runs out, the model itself continues with smaller batches, and then on the CPU."""

    @property
    def fallbacks(self) -> Fallbacks:
        """Notes about the fallbacks that were taken, for the log and the provenance of results."""

    def to_cpu(self) -> bool:
        """Move the model to the CPU permanently; False if it is there already."""


#: Protocols that rows of the catalogue do not list.
OPTIONAL: tuple[type, ...] = (StorableEmbeddings, EmbeddingMaps, MemoryRescue, SavableClustering)

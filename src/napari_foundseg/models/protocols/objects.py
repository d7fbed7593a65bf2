"""Protocols that a task may ask of a model for prompts, objects, features and clusters.

Those of models that know classes or words, or follow objects through frames, are in the modules beside this one.

A model family names the protocols that its models implement, and its rows of the catalogue those of each file. The
optional protocols (`OPTIONAL`) are not named: a model that implements one gets what it is for, and a model that
implements a part of one is refused when it is loaded.
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
    """Encodes a picture once for all that is decoded from it. Embeddings are kept in memory for every encoder."""

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
    """Turns points, boxes and masks into masks."""

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
            Whether to pass clicks one after the other, each with the mask of the clicks before it.

        Returns
        -------
        list of Candidates
            One for each prompt.
        """


class InstanceDecoding(Model, Protocol):
    """Decodes the maps from which `core.watershed.instances` makes instances."""

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


class NucleusDecoding(InstanceDecoding, Protocol):
    """Instance decoding whose instances are nuclei, so that every pixel is nucleus or background."""


class FlowDecoding(Model, Protocol):
    """Decodes the maps from which `core.flows.flow_instances` makes instances."""

    def flow_maps(self, picture: NDArray[np.float32], poll: Callable[[], None]) -> NDArray[np.float32]:
        """Decode the maps of a picture.

        Parameters
        ----------
        picture : (M, N, C) ndarray of float32
            Of 1 to 3 channels, each with its 1st and 99th percentile at 0 and 1.
        poll : callable
            Called before every batch of tiles; may raise to stop.

        Returns
        -------
        (3, M, N) ndarray of float32
            Flows along rows and columns, five times as long as steps, and the logit of the probability of an object.
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
    """Makes masks from a grid of points, as SAM's automatic mask generator."""

    def grid_masks(
        self, embedding: Any, points: NDArray[np.float64], options: GridOptions, poll: Callable[[], None]
    ) -> list[Mask]:
        """Prompt the model at every point of an encoded picture; three masks a point.

        Parameters
        ----------
        embedding : Embedding
            Result of `encode`.
        points : (K, 2) ndarray of float
            (x, y) as shares of width and height, 0 to 1, as the generator's own ``point_grids``.
        options : GridOptions
            Thresholds; masks below them are not returned.
        poll : callable
            Called before every batch of points; may raise to stop.

        Returns
        -------
        list of Mask
            In the picture's pixels, in the order of the points, without suppression of overlaps.
        """


class FeatureExtractor(Model, Protocol):
    """Describes every place of a picture by a vector of features."""

    @property
    def features_window(self) -> int:
        """Largest side in pixels of a picture that is described as it is, a multiple of the stride."""

    @property
    def feature_stride(self) -> int:
        """Pixels of the picture per cell of the features, along each axis."""

    @property
    def feature_offset(self) -> float:
        """Position in pixels of the first cell, along each axis."""

    @property
    def feature_margin(self) -> int:
        """Pixels at a window's border where features differ from those of a larger window."""

    def features(self, rgb: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Compute the features of a picture.

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
    """Features that were fitted to images (codes), and the clusters that were found in them."""

    @property
    def sample(self) -> NDArray[np.float32]:
        """Codes of the images that it was fitted to, (n, D), to make other numbers of clusters of. May be empty."""

    @property
    def clusters(self) -> Clusters:
        """The clusters that it was saved with."""

    @property
    def linear(self) -> Clusters | None:
        """Classes that were learnt from labels, None if there are none."""


@runtime_checkable
class SavableClustering(Clustering, Protocol):
    """Optional: a model that was fitted here, which can be written to another folder with other clusters or classes."""

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
    """Optional, for an `Encoder`: embeddings are kept on the disk too, for other processes."""

    @property
    def preprocessing(self) -> str:
        """Name of what `encode` does to a picture: equal weights and names mean equal embeddings."""

    @property
    def stored_as(self) -> Literal["float16", "float32"]:
        """Precision of `packed`. With float16 new embeddings are rounded too, so that all processes use the same."""

    def packed(self, embedding: Any) -> bytes:
        """Return an embedding as bytes, whose numbers have the precision `stored_as`.

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
        """Return the embedding of bytes from `packed`, on the model's device.

        Parameters
        ----------
        data : bytes
            From `packed` of a model with the same weights and `preprocessing`.

        Returns
        -------
        Embedding
            Decoded to the same masks as the embedding that was packed.
        """


@runtime_checkable
class EmbeddingMaps(Encoder, Protocol):
    """Optional, for `InstanceDecoding`: the maps are decoded from the embedding that prompts use."""

    def maps_of(self, embedding: Any) -> NDArray[np.float32]:
        """Decode the maps of an encoded picture.

        Parameters
        ----------
        embedding : Embedding
            Result of `encode`.

        Returns
        -------
        (3, M, N) ndarray of float32
            As `InstanceDecoding.instance_maps` of the same picture.
        """


@runtime_checkable
class MemoryRescue(Protocol):
    """Optional: the model itself goes on when memory runs out, with smaller batches and then on the CPU."""

    @property
    def fallbacks(self) -> Fallbacks:
        """Notes of what was done, for the log and the provenance of results."""

    def to_cpu(self) -> bool:
        """Move the model to the CPU permanently; False if it is there already."""


#: Protocols that rows of the catalogue need not name.
OPTIONAL: tuple[type, ...] = (StorableEmbeddings, EmbeddingMaps, MemoryRescue, SavableClustering)

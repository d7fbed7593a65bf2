"""Protocols of models that predict classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.classes.panoptic import Panoptic
from napari_foundseg.core.masks import Mask
from napari_foundseg.models.protocols.objects import Model

__all__ = [
    "CentreMaps",
    "CentreOffsets",
    "Classed",
    "Grouping",
    "InstanceMasks",
    "PanopticOptions",
    "PanopticSegments",
    "SemanticClasses",
    "View",
    "ViewClasses",
]


class Classed(Model, Protocol):
    """A model with a fixed set of classes."""

    @property
    def classes(self) -> ClassTable:
        """The model's classes, with areas and counts of 0."""


class SemanticClasses(Classed, Protocol):
    """Predicts the class of each pixel."""

    def semantic(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the class of each pixel of a picture.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture. The model resizes it as in its training.

        Returns
        -------
        (M, N) ndarray of uint16
            Ids of `classes`; 0 for background without a class.
        """


class View(NamedTuple):
    """The type of view that a whole picture shows; it decides which classes the picture may contain."""

    name: str
    """Its name."""
    score: float
    """Its probability, 0 to 1."""
    classes: tuple[int, ...]
    """Ids of its possible classes."""


@runtime_checkable
class ViewClasses(SemanticClasses, Protocol):
    """Recognises the view of a picture, and predicts only classes that this view can show."""

    def view(self, rgb: NDArray[np.uint8]) -> View:
        """Return the most probable view of a whole picture.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture, which the model shrinks to its window.

        Returns
        -------
        View
            The most probable view.
        """

    def semantic_in(self, rgb: NDArray[np.uint8], view: View) -> NDArray[np.uint16]:
        """Return the class of each pixel of a picture, or of a part of it, for a view that was found before.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture or the part.
        view : View
            The view of the whole picture.

        Returns
        -------
        (M, N) ndarray of uint16
            Ids of the view's classes; 0 for background without a class.
        """


@dataclass(frozen=True)
class PanopticOptions:
    """Thresholds of instance and panoptic post-processing, with the names that transformers uses."""

    threshold: float = 0.5
    mask_threshold: float = 0.5
    overlap_mask_area_threshold: float = 0.8


class PanopticSegments(Classed, Protocol):
    """Predicts the class of each pixel and, for countable things, the object."""

    def panoptic(self, rgb: NDArray[np.uint8], options: PanopticOptions) -> Panoptic:
        """Split a picture into objects and stuff.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.
        options : PanopticOptions
            Thresholds.

        Returns
        -------
        Panoptic
            Its classes are ids of `classes`.
        """


class InstanceMasks(Classed, Protocol):
    """Finds objects with classes, each with its own mask. Masks may overlap."""

    def instances(self, rgb: NDArray[np.uint8], options: PanopticOptions) -> list[Mask]:
        """Find the objects of a picture.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.
        options : PanopticOptions
            Thresholds.

        Returns
        -------
        list of Mask
            Their classes are ids of `classes`; `predicted_iou` is the score.
        """


class CentreMaps(NamedTuple):
    """For each pixel, its class and the offset to the centre of its object; and a heat map of the centres."""

    semantic: NDArray[np.uint16]
    """Ids of classes, (M, N); 0 for background without a class."""
    centres: NDArray[np.float32]
    """Heat map of the objects' centres, (M, N), about 0 to 1."""
    offsets: NDArray[np.float32]
    """Offset of each pixel to its object's centre in pixels, (2, M, N), rows first."""


@dataclass(frozen=True)
class Grouping:
    """Options of `core.classes.panoptic.grouped`, which groups pixels around centres."""

    centre_threshold: float = 0.1
    nms_kernel: int = 7
    top_k: int = 200
    stuff_area: int = 2048


class CentreOffsets(Classed, Protocol):
    """Predicts for each pixel its class and the offset to its object's centre."""

    @property
    def grouping(self) -> Grouping:
        """The options that the model was published with."""

    def centre_maps(self, rgb: NDArray[np.uint8]) -> CentreMaps:
        """Run the network on a picture.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.

        Returns
        -------
        CentreMaps
            At the picture's resolution. The classes are ids of `classes`.
        """

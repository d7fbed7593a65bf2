"""Protocols that a task may ask of a model that knows classes."""

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
        """Its classes, with areas and counts of 0."""


class SemanticClasses(Classed, Protocol):
    """Returns the class of each pixel."""

    def semantic(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the class of each pixel of a picture, which the model resizes as it was trained.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.

        Returns
        -------
        (M, N) ndarray of uint16
            Ids of `classes`; 0 for background without a class.
        """


class View(NamedTuple):
    """What a picture shows as a whole, which decides what classes it may hold."""

    name: str
    """Its name."""
    score: float
    """Its probability, 0 to 1."""
    classes: tuple[int, ...]
    """Ids of the classes that it can show."""


@runtime_checkable
class ViewClasses(SemanticClasses, Protocol):
    """Tells the view of a picture, and returns the class of each pixel among those of the view."""

    def view(self, rgb: NDArray[np.uint8]) -> View:
        """Tell the view of a whole picture.

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
        """Return the class of each pixel of a picture, or of a part of it, whose view is known.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.
        view : View
            The view of the whole.

        Returns
        -------
        (M, N) ndarray of uint16
            Ids of the view's classes; 0 for background without a class.
        """


@dataclass(frozen=True)
class PanopticOptions:
    """Thresholds of instance and panoptic post-processing, as transformers names them."""

    threshold: float = 0.5
    mask_threshold: float = 0.5
    overlap_mask_area_threshold: float = 0.8


class PanopticSegments(Classed, Protocol):
    """Returns the class of each pixel, and the object of each pixel of a thing."""

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
            With ids of `classes`.
        """


class InstanceMasks(Classed, Protocol):
    """Finds objects with classes, each with a mask of its own; masks may overlap."""

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
            With ids of `classes`; the score is `predicted_iou`.
        """


class CentreMaps(NamedTuple):
    """Maps of the class of each pixel, and of the way to the centre of its object."""

    semantic: NDArray[np.uint16]
    """Ids of classes, (M, N); 0 for background without a class."""
    centres: NDArray[np.float32]
    """Heat map of the objects' centres, (M, N), about 0 to 1."""
    offsets: NDArray[np.float32]
    """For each pixel the way to its object's centre in pixels, (2, M, N), rows first."""


@dataclass(frozen=True)
class Grouping:
    """How pixels are grouped around centres, as `core.classes.panoptic.grouped` takes it."""

    centre_threshold: float = 0.1
    nms_kernel: int = 7
    top_k: int = 200
    stuff_area: int = 2048


class CentreOffsets(Classed, Protocol):
    """Returns for each pixel its class and the way to its object's centre."""

    @property
    def grouping(self) -> Grouping:
        """Options that the model was published with."""

    def centre_maps(self, rgb: NDArray[np.uint8]) -> CentreMaps:
        """Run the network on a picture.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.

        Returns
        -------
        CentreMaps
            At the picture's resolution, with ids of `classes`.
        """

"""Protocols that a task may ask of a model that knows classes or words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.classes.panoptic import Panoptic
from napari_foundseg.core.masks import Mask
from napari_foundseg.models.protocols import Model

__all__ = [
    "CentreMaps",
    "CentreOffsets",
    "Classed",
    "ConceptMasks",
    "ConceptQuery",
    "ExampleBoxes",
    "Grounded",
    "GroundedBoxes",
    "Grouping",
    "InstanceMasks",
    "PanopticOptions",
    "PanopticSegments",
    "RegionText",
    "SemanticClasses",
    "TextEncoder",
    "TextImage",
    "TextMaps",
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


class TextMaps(Model, Protocol):
    """Draws heat maps of the places that texts, or example pictures, describe."""

    @property
    def longest_text(self) -> int:
        """Largest number of tokens of a text."""

    def text_maps(self, rgb: NDArray[np.uint8], prompts: Sequence[str | NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Draw a heat map of each prompt.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture, resized to `window` by `window` pixels.
        prompts : sequence of str or (P, Q, 3) ndarray of uint8
            Texts, or pictures of examples.

        Returns
        -------
        (K, M, N) ndarray of float32
            Probabilities, 0 to 1.
        """

    def token_count(self, text: str) -> int:
        """Return how many tokens a text has.

        Parameters
        ----------
        text : str
            The text.

        Returns
        -------
        int
            Tokens, start and end included.
        """


class ConceptQuery(NamedTuple):
    """A concept to find in a picture, by words, by boxes in the same picture, or both.

    Parameters
    ----------
    text : str
        A noun phrase.
    boxes : tuple of tuple of float
        Examples: (y0, x0, y1, x1) in pixels of the picture, both ends included.
    signs : tuple of int
        For each box 1 (such a one) or 0 (none of these).
    """

    text: str = ""
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    signs: tuple[int, ...] = ()


class ConceptMasks(Model, Protocol):
    """Outlines every object of a concept (SAM 3)."""

    @property
    def longest_text(self) -> int:
        """Largest number of tokens of a text."""

    @property
    def most_objects(self) -> int:
        """How many objects of a concept it can return for a picture."""

    def token_count(self, text: str) -> int:
        """Return how many tokens a text has.

        Parameters
        ----------
        text : str
            The text.

        Returns
        -------
        int
            Tokens, start and end included.
        """

    def concept_masks(
        self, rgb: NDArray[np.uint8], queries: Sequence[ConceptQuery], threshold: float
    ) -> list[list[Mask]]:
        """Outline the objects of concepts; the picture is encoded once.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture, resized to `window` by `window` pixels.
        queries : sequence of ConceptQuery
            The concepts.
        threshold : float
            Scores up to it are left out, 0 to 1.

        Returns
        -------
        list of list of Mask
            For each concept its objects, the best first; the score is `predicted_iou`. They may overlap.
        """


class GroundedBoxes(NamedTuple):
    """Boxes that words or examples were found in."""

    boxes: NDArray[np.float64]
    """(y0, x0, y1, x1) of each in pixels of the picture, both ends included, inside it, (K, 4)."""
    scores: NDArray[np.float32]
    """Score of each, 0 to 1, (K,)."""
    phrases: NDArray[np.int64]
    """Number of the phrase or example of each, from 0, (K,)."""


class Grounded(Model, Protocol):
    """Finds boxes of what phrases name (Grounding DINO, OWLv2)."""

    @property
    def longest_text(self) -> int:
        """Largest number of tokens of a phrase."""

    @property
    def most_boxes(self) -> int:
        """How many boxes it can return for a picture."""

    def token_count(self, text: str) -> int:
        """Return how many tokens a phrase has.

        Parameters
        ----------
        text : str
            The phrase.

        Returns
        -------
        int
            Tokens, with those that the model adds.
        """

    def ground(self, rgb: NDArray[np.uint8], phrases: Sequence[str], threshold: float) -> GroundedBoxes:
        """Find what phrases name.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture, which the model resizes as it was trained.
        phrases : sequence of str
            Noun phrases. Where they do not fit into the model's text at once, they are searched in groups, in order.
        threshold : float
            Scores up to it are left out, 0 to 1.

        Returns
        -------
        GroundedBoxes
            In any order; they may overlap.
        """


class ExampleBoxes(Model, Protocol):
    """Finds boxes of what looks like an object in another picture (OWLv2)."""

    @property
    def most_boxes(self) -> int:
        """How many boxes it can return for a picture."""

    def example_vector(self, rgb: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.float32]:
        """Return what the model looks for, given an object.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The object and its surroundings.
        box : tuple of float
            Of the object, (y0, x0, y1, x1) in pixels of the picture, both ends included.

        Returns
        -------
        (D,) ndarray of float32
            To be passed to `boxes_like`.
        """

    def boxes_like(self, rgb: NDArray[np.uint8], vectors: NDArray[np.float32], threshold: float) -> GroundedBoxes:
        """Find what looks like examples.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture, which the model resizes as it was trained.
        vectors : (K, D) ndarray of float32
            Of the examples. A box belongs to the one that it is most like.
        threshold : float
            Scores up to it are left out, 0 to 1.

        Returns
        -------
        GroundedBoxes
            In any order; they may overlap.
        """


class TextEncoder(Model, Protocol):
    """Embeds texts in a space that it shares with pictures or parts of them."""

    @property
    def scale(self) -> float:
        """Factor of cosines before a softmax."""

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts.

        Parameters
        ----------
        texts : sequence of str
            The texts.

        Returns
        -------
        (K, D) ndarray of float32
            Rows of length 1.
        """


class TextImage(TextEncoder, Protocol):
    """Compares pictures with texts (CLIP, SigLIP)."""

    def embed_pictures(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed pictures.

        Parameters
        ----------
        pictures : sequence of (M, N, 3) ndarray of uint8
            Of any sizes.

        Returns
        -------
        (K, D) ndarray of float32
            Rows of length 1.
        """


class RegionText(TextEncoder, Protocol):
    """Compares parts of a picture with texts (RegionCLIP); what is none of the texts has the cosine 0."""

    def embed_regions(
        self, rgb: NDArray[np.uint8], boxes: Sequence[tuple[float, float, float, float]]
    ) -> NDArray[np.float32]:
        """Embed parts of a picture, which is encoded once.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.
        boxes : sequence of tuple of float
            (y0, x0, y1, x1) in pixels of the picture, both ends included.

        Returns
        -------
        (K, D) ndarray of float32
            Rows of length 1.
        """

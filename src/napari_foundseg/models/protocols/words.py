"""Protocols of models that understand words or examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.masks import Mask
from napari_foundseg.models.protocols.objects import Model

__all__ = [
    "ConceptMasks",
    "ConceptQuery",
    "ExampleBoxes",
    "Grounded",
    "GroundedBoxes",
    "RegionText",
    "TextEncoder",
    "TextImage",
    "TextMaps",
    "TextReader",
]


class TextReader(Model, Protocol):
    """Reads texts up to a maximum length."""

    @property
    def longest_text(self) -> int:
        """Largest number of tokens in a text."""

    def token_count(self, text: str) -> int:
        """Return the number of tokens in a text.

        Parameters
        ----------
        text : str
            The text.

        Returns
        -------
        int
            Number of tokens, including those that the model adds, such as start and end.
        """


class TextMaps(TextReader, Protocol):
    """Computes heat maps of the regions that texts or example pictures describe."""

    def text_maps(self, rgb: NDArray[np.uint8], prompts: Sequence[str | NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Compute a heat map for each prompt.

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


class ConceptQuery(NamedTuple):
    """A concept to find in a picture: words, boxes in the same picture, or both.

    Parameters
    ----------
    text : str
        A noun phrase.
    boxes : tuple of tuple of float
        Examples: (y0, x0, y1, x1) in pixels of the picture, both ends included.
    signs : tuple of int
        For each box 1 (an object of the concept) or 0 (not one).
    """

    text: str = ""
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    signs: tuple[int, ...] = ()


class ConceptMasks(TextReader, Protocol):
    """Outlines every object of a concept (SAM 3)."""

    @property
    def most_objects(self) -> int:
        """Largest number of objects of a concept that the model can return for a picture."""

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
            Objects with this score or a lower one are dropped; 0 to 1.

        Returns
        -------
        list of list of Mask
            For each concept its objects, the best first; `predicted_iou` is the score. They may overlap.
        """


class GroundedBoxes(NamedTuple):
    """Boxes that were found for phrases or examples."""

    boxes: NDArray[np.float64]
    """(y0, x0, y1, x1) of each in pixels of the picture, both ends included, inside it, (K, 4)."""
    scores: NDArray[np.float32]
    """Score of each, 0 to 1, (K,)."""
    phrases: NDArray[np.int64]
    """Number of the phrase or example of each, from 0, (K,)."""


class Grounded(TextReader, Protocol):
    """Finds boxes of the objects that phrases name (Grounding DINO, OWLv2)."""

    @property
    def most_boxes(self) -> int:
        """Largest number of boxes that the model can return for a picture."""

    def ground(self, rgb: NDArray[np.uint8], phrases: Sequence[str], threshold: float) -> GroundedBoxes:
        """Find the objects that phrases name.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture. The model resizes it as in its training.
        phrases : sequence of str
            Noun phrases. If they are too many for one text of the model, they are searched in groups, in order.
        threshold : float
            Boxes with this score or a lower one are dropped; 0 to 1.

        Returns
        -------
        GroundedBoxes
            In any order; they may overlap.
        """


class ExampleBoxes(Model, Protocol):
    """Finds boxes of objects that look like an object in another picture (OWLv2)."""

    @property
    def most_boxes(self) -> int:
        """Largest number of boxes that the model can return for a picture."""

    def example_vector(self, rgb: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.float32]:
        """Return the vector to search with, for an example object.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The object and its surroundings.
        box : tuple of float
            Of the object, (y0, x0, y1, x1) in pixels of the picture, both ends included.

        Returns
        -------
        (D,) ndarray of float32
            One row of `vectors` in `boxes_like`.
        """

    def boxes_like(self, rgb: NDArray[np.uint8], vectors: NDArray[np.float32], threshold: float) -> GroundedBoxes:
        """Find objects that look like examples.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture. The model resizes it as in its training.
        vectors : (K, D) ndarray of float32
            Vectors of the examples. Each box belongs to the example that it resembles most.
        threshold : float
            Boxes with this score or a lower one are dropped; 0 to 1.

        Returns
        -------
        GroundedBoxes
            In any order; they may overlap.
        """


class TextEncoder(Model, Protocol):
    """Embeds texts in a space that they share with pictures or parts of pictures."""

    @property
    def scale(self) -> float:
        """Factor by which cosines are multiplied before a softmax."""

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
    """Compares parts of a picture with texts (RegionCLIP). The cosine for "none of the texts" is 0."""

    def embed_regions(
        self, rgb: NDArray[np.uint8], boxes: Sequence[tuple[float, float, float, float]]
    ) -> NDArray[np.float32]:
        """Embed parts of a picture. The picture is encoded once for all parts.

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

"""Protocols that a task may ask of a model that understands words or examples."""

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
    """Reads texts up to a length."""

    @property
    def longest_text(self) -> int:
        """Largest number of tokens of a text."""

    def token_count(self, text: str) -> int:
        """Return how many tokens a text has.

        Parameters
        ----------
        text : str
            The text.

        Returns
        -------
        int
            Tokens, with those that the model adds, such as start and end.
        """


class TextMaps(TextReader, Protocol):
    """Draws heat maps of the places that texts, or example pictures, describe."""

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


class ConceptMasks(TextReader, Protocol):
    """Outlines every object of a concept (SAM 3)."""

    @property
    def most_objects(self) -> int:
        """How many objects of a concept it can return for a picture."""

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


class Grounded(TextReader, Protocol):
    """Finds boxes of what phrases name (Grounding DINO, OWLv2)."""

    @property
    def most_boxes(self) -> int:
        """How many boxes it can return for a picture."""

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

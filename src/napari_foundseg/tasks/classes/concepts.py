"""Concepts: things to find, as words or example pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.errors import PromptError, SettingsError
from napari_foundseg.core.pixels.png_text import picture_of, png_text
from napari_foundseg.models.protocols.words import TextMaps, TextReader
from napari_foundseg.tasks.classes.noun_phrases import noun_phrases
from napari_foundseg.tasks.regions import Region

if TYPE_CHECKING:
    from napari_foundseg.core.pyramids import Level

__all__ = ["Concept", "NamedBox", "Prompts", "TextInputs", "check_length", "example_of", "prompts_of"]

#: Models see examples small; larger pictures would only make recipes large.
_LARGEST_EXAMPLE = 352
#: Name of a concept that has no objects.
_BACKGROUND = "background"


class Concept(Declared):
    """One thing to find."""

    text: str
    """Its name and, after commas, synonyms, such as ``mitochondrion, mitochondria``."""
    negative: str | None = None
    """Words for similar things that are something else: pixels that match these words better are excluded."""
    threshold: float | None = Field(None, ge=0, le=1)
    """Minimum score of its pixels; None for the threshold of the settings."""
    colour: str | None = Field(None, pattern=r"^#[0-9a-fA-F]{6}$")
    """``#rrggbb``; None for an automatic colour."""
    examples: tuple[str, ...] = ()
    """Pictures of it (PNG in base 64, as `example_of` makes them), in addition to its words or instead of them."""

    @field_validator("text", "negative", mode="after")
    @classmethod
    def _tidy(cls, value: str | None) -> str | None:
        return value if value is None else " ".join(value.split()).strip(" ,;") or None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not self.text:
            raise ValueError("a concept needs a name: type what to find, such as nucleus")
        return self

    @property
    def words(self) -> tuple[str, ...]:
        """The name, then the synonyms."""
        return tuple(part.strip() for part in self.text.split(",") if part.strip())

    @property
    def name(self) -> str:
        """The first of the words."""
        return self.words[0]

    @property
    def pictures(self) -> tuple[NDArray[np.uint8], ...]:
        """The examples as arrays."""
        return tuple(picture_of(example) for example in self.examples)


class NamedBox(Declared):
    """A box around an object of a concept."""

    concept: str
    """Name of the concept."""
    box: tuple[float, float, float, float]
    """(y0, x0, y1, x1), both ends included, in pixels of the slice."""
    index: tuple[int, ...] = ()
    """The slice; empty if the image has no slices."""
    score: float = Field(1.0, ge=0, le=1)
    """Confidence of the model; 1 for a box that the user drew."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        y0, x0, y1, x1 = self.box
        if not (np.isfinite(self.box).all() and y0 <= y1 and x0 <= x1):
            raise ValueError(f"a box is (y0, x0, y1, x1) with y0 <= y1 and x0 <= x1, got {self.box}")
        return self


class TextInputs(Region):
    """Concepts to find, with the slice and region, and optionally a caption or boxes."""

    caption: str | None = Field(None, json_schema_extra={"absent": None})
    """A sentence in English, such as "two syringes and a small vial of vaccine". If there are no concepts, its noun
    phrases are the concepts."""
    boxes: tuple[NamedBox, ...] | None = Field(None, json_schema_extra={"absent": None})
    """Boxes to turn into masks instead of boxes that the model finds (method boxes): objects with the name of their
    concept, box, index and score."""
    concepts: tuple[Concept, ...] = Field(min_length=1, max_length=255)
    """What to find: texts, or objects with text, negative, threshold and colour; or one text with semicolons, such as
    "mitochondria, mitochondrion; nucleus; background"."""

    @model_validator(mode="before")
    @classmethod
    def _from_caption(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("caption") and not value.get("concepts"):
            with suppress(PromptError):  # the validator of the caption raises it again
                return {**value, "concepts": [phrase.text for phrase in noun_phrases(str(value["caption"]))]}
            return {**value, "concepts": ["caption"]}
        return value

    @field_validator("caption", mode="after")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value:
            noun_phrases(value)
        return value

    @field_validator("concepts", mode="before")
    @classmethod
    def _parted(cls, value: Any) -> Any:
        return [part for part in value.split(";") if part.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _unlike(self) -> Self:
        names = [concept.name.casefold() for concept in self.concepts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(map(repr, twice))} appears twice: remove one, or give it another name")
        of_boxes = {box.concept.casefold(): box.concept for box in self.boxes or ()}
        if unknown := of_boxes.keys() - set(names):
            raise ValueError(f"a box is of {of_boxes[min(unknown)]!r}, which is none of the concepts {names}")
        return self

    def at_level(self, level: Level) -> Self:
        """Return these inputs with region and boxes in pixels of a coarser level of a pyramid."""
        below = super().at_level(level)
        if self.boxes is None:
            return below
        ends = np.array([(*box.box[:2], box.box[2] + 1, box.box[3] + 1) for box in self.boxes]).reshape(-1, 4)
        coarser = ends / np.tile(level.factors, 2) - [0, 0, 1, 1]
        coarser[:, 2:] = np.maximum(coarser[:, 2:], coarser[:, :2])
        boxes = (
            box.model_copy(update={"box": tuple(row)}) for box, row in zip(self.boxes, coarser.tolist(), strict=True)
        )
        return below.model_copy(update={"boxes": tuple(boxes)})

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Return checked inputs, raising PromptError where other inputs raise SettingsError.

        Parameters
        ----------
        values : mapping
            Field names and values.

        Returns
        -------
        TextInputs
            The checked, frozen values.

        Raises
        ------
        PromptError
            If a value is wrong; the message names the concept.
        """
        try:
            return super().parse(values)
        except SettingsError as error:
            raise PromptError(str(error)) from error

    def class_table(self) -> ClassTable:
        """Return a class for each concept.

        Returns
        -------
        ClassTable
            Concept i is class i + 1; a concept named background is stuff.
        """
        names = [concept.name for concept in self.concepts]
        stuff = [name for name in names if name.casefold() == _BACKGROUND]
        return ClassTable.of(names, stuff=stuff, colours=[concept.colour for concept in self.concepts])


def example_of(picture: NDArray[np.uint8]) -> str:
    """Encode a picture as an example of a concept.

    Parameters
    ----------
    picture : (M, N, 3) ndarray of uint8
        8-bit RGB, as from `Image.rgb`.

    Returns
    -------
    str
        PNG in base 64; a picture larger than 352 pixels is shrunk.
    """
    return png_text(picture, _LARGEST_EXAMPLE)


class Prompts:
    """Questions for a model, and the concepts to which the answers belong.

    Parameters
    ----------
    inputs : TextInputs
        The concepts.
    """

    def __init__(self, inputs: TextInputs) -> None:
        self.asked: list[str | NDArray[np.uint8]] = []
        #: Indices of the questions for each concept, then for each negative.
        self.groups: list[list[int]] = []
        #: Index of the map of each concept's negative; None without a negative.
        self.negatives: list[int | None] = []
        for concept in inputs.concepts:
            # Examples replace the words, which then are only the concept's name.
            self._ask(list(concept.pictures) or list(concept.words))
        for concept in inputs.concepts:
            self.negatives.append(len(self.groups) if concept.negative else None)
            if concept.negative:
                self._ask([part.strip() for part in concept.negative.split(",") if part.strip()])

    def _ask(self, questions: list[Any]) -> None:
        first = len(self.asked)
        self.asked += questions
        self.groups.append(list(range(first, len(self.asked))))

    def joined(self, answers: NDArray[np.float16]) -> NDArray[np.float16]:
        """Return the highest of the answers for each concept.

        Parameters
        ----------
        answers : (Q, M, N) ndarray of float16
            A map for each question.

        Returns
        -------
        (K, M, N) ndarray of float16
            A map for each concept, then one for each negative.
        """
        return np.stack([answers[group].max(axis=0) for group in self.groups])


def prompts_of(inputs: TextInputs, model: TextMaps) -> Prompts:
    """Return the questions about concepts for a model.

    Parameters
    ----------
    inputs : TextInputs
        The concepts.
    model : TextMaps
        The model.

    Returns
    -------
    Prompts
        The questions.

    Raises
    ------
    PromptError
        If a text is too long for the model.
    """
    prompts = Prompts(inputs)
    check_length((question for question in prompts.asked if isinstance(question, str)), model)
    return prompts


def check_length(texts: Iterable[str], model: TextReader) -> None:
    """Raise PromptError if a text is too long for a model."""
    for text in texts:
        if (count := model.token_count(text)) > model.longest_text:
            raise PromptError(
                f"{text[:60]!r}… has {count} tokens; {model.name} takes {model.longest_text} at most. Say it shorter."
            )

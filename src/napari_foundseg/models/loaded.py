"""Base classes of loaded models that have one network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.class_table import ClassRow, ClassTable, class_colour
from napari_foundseg.core.errors import PromptError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import stuff_of
from napari_foundseg.models.files import transformers_folder
from napari_foundseg.models.protocols.words import GroundedBoxes

__all__ = [
    "Loaded",
    "LoadedClasses",
    "LoadedWords",
    "check_known",
    "class_table",
    "grounded_boxes",
    "grouped",
    "joined_boxes",
    "pad_thin",
    "words_row",
]

_BACKGROUND = {"background", "__background__", "_background_", "unlabeled", "unlabelled"}
#: Protocols of models that separate objects.
_OF_OBJECTS = {"CentreOffsets", "InstanceMasks", "PanopticSegments"}


#: Largest ratio of a picture's sides. Networks resize one side to a fixed length: in thinner pictures the other side
#: would round to 0, or would need too much memory.
_THINNEST = 16


class Loaded:
    """A network with the name and key of its row in the catalogue."""

    def __init__(self, network: Any, row: CatalogRow) -> None:
        self.network = network
        self.name = row.name
        self.key = row.key

    @property
    def device(self) -> str:
        """Device of the network, with torch's name for it."""
        return str(next(self.network.parameters()).device)


class LoadedClasses(Loaded):
    """A network with classes. The row's option ``stuff`` may list the stuff classes."""

    def __init__(self, network: Any, row: CatalogRow) -> None:
        super().__init__(network, row)
        stuff = row.options.get("stuff")
        named = tuple(str(name) for name in stuff) if isinstance(stuff, list) else None
        #: The class table, and the number to add to a class number of the network to get the class's id.
        self.classes, self.first = class_table(
            row.classes, things=not _OF_OBJECTS.isdisjoint(row.protocols), stuff=named
        )


class LoadedWords(Loaded):
    """A network for pictures and texts, with its image processor and tokenizer."""

    def __init__(self, network: Any, images: Any, tokenizer: Any, row: CatalogRow) -> None:
        super().__init__(network, row)
        self.images = images
        self.tokenizer = tokenizer

    @classmethod
    def from_folder(cls, row: CatalogRow, path: Path, device: str) -> Self:
        """Load the model of a row; raise CheckpointError if its folder lacks a file or its files do not match."""
        images = transformers_folder.image_processor(path)
        tokenizer = transformers_folder.tokenizer(path)
        network = transformers_folder.network(path, str(row.options["architecture"]), device)
        transformers_folder.check_tokens(path, tokenizer, network.config.text_config.vocab_size)
        return cls(network, images, tokenizer, row)


def words_row(config: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, Any] | None:
    """Return catalogue fields for a folder of `LoadedWords`; None if `titles` does not have its class."""
    architecture = transformers_folder.architecture_of(config)
    if architecture not in titles:
        return None
    return {
        "title": titles[architecture],
        "options": {"architecture": architecture},
        "code_licence": "Apache-2.0",
        "input": "2-D, any dtype, grey or RGB",
    }


def grouped(phrases: Sequence[str], fits: Callable[[Sequence[str]], bool]) -> Iterator[tuple[int, list[str]]]:
    """Yield groups of phrases, in order, with the number of the first phrase. `fits` limits how many share one text."""
    group: list[str] = []
    for number, phrase in enumerate(phrases):
        if group and not fits([*group, phrase]):
            yield number - len(group), group
            group = []
        group.append(phrase)
    yield len(phrases) - len(group), group


def pad_thin(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last row or column of a very thin picture, so that networks can resize it; return others unchanged."""
    least = -(-max(rgb.shape[:2]) // _THINNEST)
    missing = [(0, max(0, least - n)) for n in rgb.shape[:2]]
    return np.pad(rgb, [*missing, (0, 0)], mode="edge") if any(n for _, n in missing) else rgb


def grounded_boxes(
    corners: NDArray[Any], scores: NDArray[Any], phrases: NDArray[Any], shape: tuple[int, ...]
) -> GroundedBoxes:
    """Return boxes clipped to a picture with this shape, without boxes that are outside it.

    `corners`: (x0, y0, x1, y1) of each box as detectors return them, the far edges excluded, (K, 4).
    """
    x0, y0, x1, y1 = corners.reshape(-1, 4).astype(np.float64).T
    height, width = shape[:2]
    inside = (x0 < width) & (y0 < height) & (x1 > 0) & (y1 > 0)
    top, left = np.clip(y0, 0, height - 1), np.clip(x0, 0, width - 1)
    bottom, right = np.clip(y1 - 1, top, height - 1), np.clip(x1 - 1, left, width - 1)
    boxes = np.stack([top, left, bottom, right], axis=1)[inside]
    return GroundedBoxes(boxes, scores[inside].astype(np.float32), phrases[inside].astype(np.int64))


def check_known(model: str, phrase: str, tokens: Sequence[int], unknown: int | None) -> None:
    """Raise PromptError if a model knows no word of a phrase, such as an emoji: it would find arbitrary objects."""
    if all(token == unknown for token in tokens):
        raise PromptError(f"{model} has no word for {phrase!r}: say in English words what to find, such as nucleus.")


def joined_boxes(parts: Sequence[GroundedBoxes]) -> GroundedBoxes:
    """Concatenate the boxes of several groups of phrases."""
    return GroundedBoxes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def class_table(
    names: tuple[str, ...], *, things: bool, stuff: tuple[str, ...] | None = None
) -> tuple[ClassTable, int]:
    """Return a model's class table, and the number to add to a class number of the network to get the class's id.

    That number is 0 if class 0 is the background, which is not in the table. `things`: whether the model separates
    objects. Without `stuff`, the stuff classes are those of the data set, if `class_sets` has it.
    """
    background = bool(names) and names[0].strip().lower() in _BACKGROUND
    first = 0 if background else 1
    if stuff is None:
        stuff = stuff_of(names)
    rows = [
        ClassRow(
            id=i + first,
            name=name,
            colour=class_colour(i + first),
            kind="thing" if things and name not in stuff else "stuff",
        )
        for i, name in enumerate(names)
        if i + first
    ]
    return ClassTable(tuple(rows)), first

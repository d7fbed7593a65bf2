"""Recommends models for an image: a ranked list with reasons, only from the rows of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.downloads.size_text import size_text

__all__ = [
    "FINDS",
    "MODALITIES",
    "SIZES",
    "UNKNOWN_LICENCES",
    "Advice",
    "Answers",
    "finds_of",
    "recommend_models",
]

#: Answers to the first question: the objects that a model finds.
FINDS: Final[Mapping[str, str]] = {
    "nuclei": "Nuclei",
    "cells": "Whole cells",
    "organelles": "Mitochondria and other organelles",
    "organs": "Organs or lesions",
    "things": "Everyday objects, such as people and cars",
    "scenes": "A class for every pixel of a photograph",
    "words": "Whatever I describe in words",
    "anything": "Whatever I click on",
    "textures": "Regions that look alike",
    "names": "Names for masks that I have",
}
#: Answers to the third question: the kind of image. Rows name the kinds that models were mainly trained on.
MODALITIES: Final[Mapping[str, str]] = {
    "fluorescence": "Fluorescence",
    "light": "Brightfield or phase contrast",
    "histology": "Stained tissue",
    "electron": "Electron microscopy",
    "medical": "CT, MRI, ultrasound or X-ray",
    "photograph": "Photographs",
    "aerial": "Aerial or satellite images",
}
#: Answers to the second question: the size of the objects.
SIZES: Final[Mapping[str, str]] = {
    "small": "Small: under 20 pixels across",
    "medium": "In between",
    "large": "Large: a third of the image or more",
}
#: Names of licences that do not tell what is allowed.
UNKNOWN_LICENCES: Final = frozenset({"", "unknown", "other"})

#: Tasks for each purpose, the most direct one first.
_TASKS: Mapping[str, tuple[str, ...]] = {
    "nuclei": ("automatic", "prompt", "panoptic"),
    "cells": ("automatic", "prompt", "panoptic"),
    "organelles": ("automatic", "prompt"),
    "organs": ("automatic", "prompt", "panoptic", "semantic"),
    "things": ("panoptic", "automatic", "semantic", "prompt"),
    "scenes": ("semantic", "panoptic"),
    "words": ("text",),
    "anything": ("prompt",),
    "textures": ("cluster",),
    "names": ("name_masks",),
}
#: Purposes of models by protocol, for rows that do not state them.
_BY_PROTOCOL: Mapping[str, str] = {
    "Promptable": "anything",
    "TextMaps": "words",
    "ConceptMasks": "words",
    "Grounded": "words",
    "TextImage": "names",
    "SemanticClasses": "scenes",
    "PanopticSegments": "things",
    "InstanceMasks": "things",
    "CentreOffsets": "things",
    "FeatureExtractor": "textures",
}
#: Purposes for which the user can click on objects if no model finds them automatically.
_CLICKABLE = frozenset({"nuclei", "cells", "organelles", "organs", "things"})
#: Protocols of networks that assign each pixel to an object.
_DENSE = frozenset({"InstanceDecoding", "NucleusDecoding", "FlowDecoding"})
#: Protocols of networks that shrink a picture to a fixed size and return a limited number of objects.
_WHOLE_PICTURE = frozenset(
    {"InstanceMasks", "PanopticSegments", "CentreOffsets", "TextMaps", "ConceptMasks", "Grounded"}
)


@dataclass(frozen=True)
class Answers:
    """The user's answers about an image.

    Parameters
    ----------
    what : str
        A key of `FINDS`.
    size : str
        A key of `SIZES`.
    modality : str
        A key of `MODALITIES`.
    """

    what: str
    size: str
    modality: str


@dataclass(frozen=True)
class Advice:
    """A recommended model.

    Parameters
    ----------
    row : CatalogRow
        The model.
    task : str
        The task to use it in.
    reasons : tuple of str
        Arguments for the model.
    cautions : tuple of str
        Arguments against the model, and facts to check before its use.
    score : float
        How well it fits; higher is better.
    """

    row: CatalogRow
    task: str
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]
    score: float


def finds_of(row: CatalogRow) -> tuple[str, ...]:
    """Return the purposes of a model (keys of `FINDS`): those in its row, or else those of its protocols."""
    if row.finds:
        return row.finds
    return tuple(dict.fromkeys(what for name, what in _BY_PROTOCOL.items() if name in row.protocols))


def recommend_models(
    rows: Iterable[CatalogRow],
    answers: Answers,
    tasks_for: Callable[[CatalogRow], Collection[str]],
    is_here: Callable[[CatalogRow], bool],
) -> list[Advice]:
    """Return the models for a purpose, the best first.

    If models are equally good, those on this computer come first, then smaller ones.

    Parameters
    ----------
    rows : iterable of CatalogRow
        The models to choose from.
    answers : Answers
        The user's answers about the image.
    tasks_for : callable
        Returns the names of the tasks that a model can do.
    is_here : callable
        Returns whether the weights of a model are on this computer.

    Returns
    -------
    list of Advice
        Empty if no model serves the purpose.
    """
    found = [advice for row in rows if (advice := _advise(row, answers, tasks_for(row), is_here(row))) is not None]
    return sorted(found, key=lambda one: (-one.score, not is_here(one.row), one.row.size_mb))


def _advise(row: CatalogRow, answers: Answers, tasks: Collection[str], here: bool) -> Advice | None:
    task = next((name for name in _TASKS[answers.what] if name in tasks), None)
    finds = finds_of(row)
    if task is None or (answers.what not in finds and not (answers.what in _CLICKABLE and "anything" in finds)):
        return None
    if task == "automatic" and _DENSE.isdisjoint(row.protocols) and "prompt" in tasks:
        # A grid of points gives masks of everything, so prompts are the better task for these models.
        task = "prompt"
    reasons: list[str] = []
    cautions: list[str] = []
    score = 0.0
    wanted = FINDS[answers.what].lower()
    if answers.what in finds and task != "prompt":
        score += 4
        reasons.append(_by_itself(answers.what, wanted))
    elif answers.what in finds:
        score += 3
        reasons.append("outlines what you click on" if answers.what == "anything" else f"made for {wanted}, by prompts")
    else:
        task = "prompt" if "prompt" in tasks else task
        score += 1
        reasons.append(f"outlines whatever you click on; it does not look for {wanted} by itself")
    score += _judge_modality(row, answers.modality, reasons, cautions)
    score += _judge_size(row, answers.size, task, reasons, cautions)
    reasons.append("on this computer" if here else f"to download, {size_text(row.size_mb)}")
    if row.weights_licence.lower() in UNKNOWN_LICENCES:
        cautions.append(f"the licence of its weights is {_licence(row)}: read it at the source before use")
    if row.gated and not here:
        cautions.append("its authors ask for your consent before the download")
    return Advice(row, task, tuple(reasons), tuple(cautions), score)


def _by_itself(what: str, wanted: str) -> str:
    by_itself = {
        "words": "finds what words describe",
        "textures": "groups regions that look alike",
        "names": "names masks that are there",
        "scenes": "gives every pixel a class",
    }
    return by_itself.get(what, f"finds {wanted} by itself")


def _judge_modality(row: CatalogRow, modality: str, reasons: list[str], cautions: list[str]) -> float:
    if modality in row.modalities:
        reasons.append(f"trained on such images ({MODALITIES[modality].lower()})")
        return 3
    if not row.modalities:
        cautions.append("its row does not say what images it was trained on")
        return 0
    trained = " and ".join(MODALITIES.get(name, name).lower() for name in row.modalities)
    cautions.append(f"trained mainly on other images ({trained})")
    return -1


def _judge_size(row: CatalogRow, size: str, task: str, reasons: list[str], cautions: list[str]) -> float:
    protocols = set(row.protocols)
    dense = not _DENSE.isdisjoint(protocols) and task == "automatic"
    if size == "small":
        if dense:
            reasons.append("decides pixel by pixel, so objects of few pixels are found")
            return 1
        if not _WHOLE_PICTURE.isdisjoint(protocols):
            cautions.append("it shrinks the image to a size of its own, so small objects may be missed")
            return -1
        if task == "automatic":
            cautions.append("it tries a grid of points, so objects between them may be missed")
            return -0.5
    if size == "large" and "PointGrid" in protocols and not dense:
        reasons.append("outlines objects of any size")
        return 0.5
    return 0


def _licence(row: CatalogRow) -> str:
    return "unknown" if row.weights_licence.lower() in ("", "unknown") else f"{row.weights_licence!r}"

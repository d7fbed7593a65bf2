"""The user's own words for the objects of a panoptic result: *Name the masks* as a part of *Panoptic*."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.errors import SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.object_table import named_classes
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import row
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.row_defaults import as_expected, expected_normalisation
from napari_foundseg.tasks import name_masks
from napari_foundseg.tasks.name_masks import NameInputs, NameSettings, RegionSettings
from napari_foundseg.tasks.settings import Progress
from napari_foundseg.tasks.stack_settings import ClassStackSettings

__all__ = ["WordSettings", "with_own_words"]


class WordSettings(ClassStackSettings):
    """Settings for words that replace the names of objects."""

    words: str = Field("", title="Words of your own", json_schema_extra={"more": True, "absent": ""})
    """Names for the objects instead of the model's classes, separated by semicolons, with synonyms after commas: cell,
    a living cell; debris. Background classes are kept. Empty: the model's own classes."""
    crops_model: str = Field(
        "", title="Compare crops", json_schema_extra={"model": "TextImage", "more": True, "absent": ""}
    )
    """The model that compares the crop of each object with the words, as *Name the masks* does (CLIP, SigLIP)."""
    regions_model: str = Field(
        "", title="Compare places", json_schema_extra={"model": "RegionText", "more": True, "absent": ""}
    )
    """The model that compares the place of each object in the picture with the words (RegionCLIP). If a model of crops
    is set too, both count (the ensemble of ViLD)."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words, each with its synonyms; empty if the model's own classes are used.

        Raises
        ------
        SettingsError
            If there are words without a model, or a model without words.
        """
        named = bool(self.crops_model or self.regions_model)
        found = tuple(word for part in self.words.split(";") if (word := part.strip(" ,")))
        if found and not named:
            raise SettingsError(
                "words are given, but no model to compare them with: choose crops_model or regions_model."
            )
        if named and not found:
            raise SettingsError(
                "A model to compare words with is chosen, but words is empty: type some, or choose none."
            )
        return found


def with_own_words(
    found: Segmentation,
    image: Image,
    settings: WordSettings,
    first: Any,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Return a panoptic result whose objects have the words of the settings as classes; stuff keeps its classes.

    `first` is the model that found the objects.
    """
    inputs = NameInputs.parse({"labels": found.labels, "vocabulary": settings.vocabulary})
    options: Any = NameSettings()
    chosen, protocol = settings.crops_model, "TextImage"
    if settings.regions_model:
        options = RegionSettings(crops_model=settings.crops_model)
        chosen, protocol = settings.regions_model, "RegionText"
    model: Any = load_model(chosen, device=first.device, protocol=protocol)
    named = name_masks.run(_seen_by(chosen, image, first.name, options), inputs, options, model, progress, cancelled)
    stuff = ClassTable(tuple(entry for entry in found.classes if entry.kind == "stuff"))
    classes, numbers = named.classes.joined(stuff)
    lookup = np.zeros(max([0, *found.classes.ids]) + 1, np.uint16)
    lookup[list(numbers)] = list(numbers.values())
    assert found.semantic is not None
    assert named.semantic is not None
    semantic = np.where(found.labels > 0, named.semantic, lookup[found.semantic])
    own = named.table.set_index("label").loc[found.table["label"]]
    new = [name for name in own.columns if name not in found.table.columns]
    table = found.table.assign(**{name: own[name].to_numpy() for name in ("class", *new)})
    measured = classes.measured(semantic, table["class"].to_numpy())
    used = {name: named.provenance[name] for name in ("model", "crops_model") if name in named.provenance}
    told = {**found.provenance, "classes": measured.to_json(), "words": used}
    # Other thresholds would give objects without names, so such a result is not made again from its maps.
    return replace(
        found, table=named_classes(table, measured), classes=measured, provenance=told, semantic=semantic, maps=None
    )


def _seen_by(name: str, image: Image, first: str, settings: Any) -> Image:
    """Return an image as a model of words expects it, undoing automatic choices for the first model."""
    if image.normalisation == expected_normalisation(row(first)):
        image = replace(image, normalisation=None)
    if image.colour is not None:
        # The channels were measured for the first model, not chosen by the user.
        image = replace(image, channels=None, colour=None)
    return as_expected(row(name), image, settings.colours)

"""The contrast, colours and default settings of a model: those of its row, or else those of its family."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from napari_foundseg.core.contrast import AsIs, MinMax, Percentile
from napari_foundseg.core.image import Image
from napari_foundseg.core.pixels.colour import ColourRule
from napari_foundseg.models.catalog import CatalogRow, Expected
from napari_foundseg.models.families import family_module, family_names
from napari_foundseg.models.family import Family

__all__ = ["as_expected", "default_settings", "expected_colour", "expected_normalisation"]

_NORMALISATIONS: Mapping[Expected, AsIs | MinMax | Percentile] = {
    "as is": AsIs(),
    "min to max": MinMax(),
    "percentile": Percentile(),
}


def expected_normalisation(row: CatalogRow) -> AsIs | MinMax | Percentile:
    """Return the default normalisation of images for a model, for when the user has chosen none."""
    family = _family(row)
    return _NORMALISATIONS[row.expects or (family.expects if family else "percentile")]


def as_expected(row: CatalogRow, image: Image, colours: ColourRule) -> Image:
    """Return an image with the contrast and colours that a model expects. The user's own choices are kept.

    `colours`: as in `expected_colour`.
    """
    return image.seen_as(expected_normalisation(row), expected_colour(row, colours))


def expected_colour(row: CatalogRow, colours: ColourRule) -> ColourRule:
    """Return how an RGB image is used if the user has not chosen channels.

    `colours`: the rule of the task for models that expect grey pictures.
    """
    family = _family(row)
    own = row.colours or (family.colours if family else "RGB")
    return colours if own == "grey" else "RGB"


def default_settings(row: CatalogRow, task: str, method: str) -> Mapping[str, JsonValue]:
    """Return a model's own defaults for a method's settings. Settings without one keep the method's default."""
    key = f"{task}.{method}"
    family = _family(row)
    return {**(family.defaults.get(key, {}) if family else {}), **row.defaults.get(key, {})}


def _family(row: CatalogRow) -> Family | None:
    """Return the family of a row; None if it is not installed, which a loaded model does not need."""
    return family_module(row.family).FAMILY if row.family in family_names() else None

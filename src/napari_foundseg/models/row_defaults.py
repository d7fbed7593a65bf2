"""What a model expects and its own defaults of settings: those of its row, else those of its family."""

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
    """Return how the grey values of images are normalised for a model where nothing else is chosen."""
    family = _family(row)
    return _NORMALISATIONS[row.expects or (family.expects if family else "percentile")]


def as_expected(row: CatalogRow, image: Image, colours: ColourRule) -> Image:
    """Return an image as a model sees it, unless a normalisation and channels were chosen for it.

    `colours`: as in `expected_colour`.
    """
    return image.seen_as(expected_normalisation(row), expected_colour(row, colours))


def expected_colour(row: CatalogRow, colours: ColourRule) -> ColourRule:
    """Return what an RGB image is whose channels the user has not chosen.

    `colours`: what it is to the task, with a model that expects grey pictures.
    """
    family = _family(row)
    own = row.colours or (family.colours if family else "RGB")
    return colours if own == "grey" else "RGB"


def default_settings(row: CatalogRow, task: str, method: str) -> Mapping[str, JsonValue]:
    """Return a model's defaults of settings of a method; those of other settings are the method's own."""
    key = f"{task}.{method}"
    family = _family(row)
    return {**(family.defaults.get(key, {}) if family else {}), **row.defaults.get(key, {})}


def _family(row: CatalogRow) -> Family | None:
    """Return the family of a row, None where it is not here: a loaded model needs none."""
    return family_module(row.family).FAMILY if row.family in family_names() else None

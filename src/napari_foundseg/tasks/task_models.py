"""Models for a task, tasks for a model, and the defaults and image preparation that models specify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_foundseg.core.errors import ModelNotFoundError
from napari_foundseg.models.catalog import CatalogRow, catalog, row
from napari_foundseg.tasks import TASKS

if TYPE_CHECKING:
    from napari_foundseg.core.contrast import AsIs, MinMax, Percentile
    from napari_foundseg.core.image import Image
    from napari_foundseg.core.pixels.colour import ColourRule
    from napari_foundseg.tasks import Settings

__all__ = ["colour_rule", "default_model", "expectation", "image_for", "model_defaults", "models_for", "tasks_for"]


def tasks_for(row: CatalogRow) -> tuple[str, ...]:
    """Return the names of the tasks that a model can run, in the order of `TASKS`."""
    return tuple(name for name in TASKS if not TASKS.protocols(name).isdisjoint(row.protocols))


def models_for(task: str) -> list[CatalogRow]:
    """Return the models that can run a task, the default first."""
    wanted = TASKS.protocols(task)
    return [row for row in catalog().values() if not wanted.isdisjoint(row.protocols)]


def default_model(task: str) -> str:
    """Return the name of the first model that can run a task; raise ModelNotFoundError if there is none."""
    rows = models_for(task)
    if not rows:
        raise ModelNotFoundError(
            f"No model for {task} is in the catalogue. Import one: napari-foundseg models import FILE"
        )
    return rows[0].name


def model_defaults(model: str, task: str, method: str) -> dict[str, Any]:
    """Return a model's own defaults for the settings of a method; empty if it has none."""
    from napari_foundseg.models.row_defaults import default_settings

    return dict(default_settings(row(model), task, method))


def expectation(model: str) -> AsIs | MinMax | Percentile:
    """Return the normalisation of grey values that a model expects."""
    from napari_foundseg.models.row_defaults import expected_normalisation

    return expected_normalisation(row(model))


def colour_rule(model: str, settings: type[Settings]) -> ColourRule:
    """Return how a method with a model treats RGB images."""
    from napari_foundseg.models.row_defaults import expected_colour

    return expected_colour(row(model), settings.colours)


def image_for(model: str, image: Image, settings: Settings) -> Image:
    """Return the image with the normalisation and channels that a model expects, unless they were chosen."""
    from napari_foundseg.models.row_defaults import as_expected

    return as_expected(row(model), image, settings.colours)

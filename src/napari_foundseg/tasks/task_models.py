"""Models that can do a task, and tasks that a model can do: both follow from the protocols of the model's row."""

from __future__ import annotations

from napari_foundseg.core.errors import ModelNotFoundError
from napari_foundseg.models.catalog import CatalogRow, catalog
from napari_foundseg.tasks import TASKS

__all__ = ["default_model", "models_for", "tasks_for"]


def tasks_for(row: CatalogRow) -> tuple[str, ...]:
    """Return the names of the tasks that a model can do, in the order of `TASKS`."""
    return tuple(name for name, task in TASKS.items() if not set(row.protocols).isdisjoint(task.protocols.values()))


def models_for(task: str) -> list[CatalogRow]:
    """Return the models that can do a task, the default first."""
    wanted = set(TASKS[task].protocols.values())
    return [row for row in catalog().values() if not wanted.isdisjoint(row.protocols)]


def default_model(task: str) -> str:
    """Return the name of the first model that can do a task; ModelNotFoundError if there is none."""
    rows = models_for(task)
    if not rows:
        raise ModelNotFoundError(
            f"No model for {task} is in the catalogue. Import one: napari-foundseg models import FILE"
        )
    return rows[0].name

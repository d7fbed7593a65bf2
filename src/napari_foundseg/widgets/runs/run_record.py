"""`RunRecord`: a run of a form, for export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import ref

from napari_foundseg.core.errors import RecipeError
from napari_foundseg.io import folders
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.widgets.runs.python_text import as_python

if TYPE_CHECKING:
    from napari_foundseg.batch.recipe import Recipe

__all__ = ["RunRecord", "forget_run", "inputs_folder", "latest_run", "set_latest_run"]

#: A weak reference: the form keeps its record, and is deleted with its viewer.
_latest: ref[RunRecord] | None = None


@dataclass(frozen=True, eq=False)
class RunRecord:
    """The last run of a form.

    Parameters
    ----------
    layer : str
        Name of the image's layer.
    layers : mapping of str to str
        Names of the layers whose pixels are inputs, by the names of the inputs; exported code uses them.
    """

    request: RunRequest
    layer: str
    layers: Mapping[str, str] = field(default_factory=dict)

    def as_python(self) -> str:
        """Return the run as Python code."""
        return as_python(self.request, self.layer, self.layers)

    def as_command(self) -> str:
        """Return the run as a command; inputs that are too long for a line are in a file of `inputs_folder`.

        Raises
        ------
        RecipeError
            If another level than the finest was segmented.
        """
        from napari_foundseg.batch.command_text import as_command

        self._refuse_levels()
        return as_command(self.request, self.layer, self.layers, inputs_folder())

    def as_recipe(self, folder: Path) -> Recipe:
        """Return a recipe of the run for the image's file; paths inside `folder` are relative to it.

        Raises
        ------
        RecipeError
            If another level than the finest was segmented.
        """
        from napari_foundseg.batch.recipe import recipe_of

        self._refuse_levels()
        path = Path(self.request.image.source or f"{self.layer}.tif")
        if path.is_relative_to(folder):
            path = path.relative_to(folder)
        return recipe_of(self.request, (path.as_posix(),))

    def _refuse_levels(self) -> None:
        level = self.request.level
        if level is not None:
            raise RecipeError(
                f"This run looked at level {level.number} of the pyramid; recipes and commands do at the finest. "
                "Choose level 0 below the image and run again, or copy as Python."
            )


def inputs_folder() -> Path:
    """Return the folder for long inputs of copied commands."""
    return folders.data() / "commands"


def latest_run() -> RunRecord | None:
    """Return the last run of any open form, or None."""
    return None if _latest is None else _latest()


def set_latest_run(record: RunRecord) -> None:
    """Make a record the result of `latest_run`, as long as its form is open."""
    global _latest
    _latest = ref(record)


def forget_run(record: RunRecord | None) -> None:
    """Make `latest_run` return None if this was the latest run, since its form is being closed."""
    global _latest
    if _latest is not None and _latest() is record:
        _latest = None

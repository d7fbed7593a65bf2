"""`Request`: a recipe, and what a person chose instead of what it says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from napari_foundseg.batch.items import output_folder
from napari_foundseg.batch.layer_sources import files_of_layers
from napari_foundseg.batch.recipe import Recipe, write_recipe
from napari_foundseg.batch.runner import OnChange, Runner
from napari_foundseg.core.errors import RecipeError
from napari_foundseg.core.image import Image

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """What is to be run over what.

    Parameters
    ----------
    recipe : Recipe or None
        None as long as none was chosen.
    folder : Path
        The folder that the recipe's paths start from.
    paths : tuple of str
        Images instead of the recipe's; empty: the recipe's.
    layers : tuple of (str, Image)
        Layers by their names, instead of either.
    stacks : {'whole', 'slices'} or None
        Whether a stack is one item or one a slice; None: as the recipe says.
    out : Path or None
        Folder of the results; None: as the recipe says.
    workers : int
        How many workers.
    engine : str
        Address of the scheduler whose workers do it; empty for processes on this computer.
    """

    recipe: Recipe | None = None
    folder: Path = field(default_factory=Path)
    paths: tuple[str, ...] = ()
    layers: tuple[tuple[str, Image], ...] = ()
    stacks: Literal["whole", "slices"] | None = None
    out: Path | None = None
    workers: int = 1
    engine: str = ""

    @property
    def results(self) -> Path:
        """The folder of the results."""
        return output_folder(self.chosen(), self.folder, self.out)

    def chosen(self) -> Recipe:
        """Return the recipe with what was chosen in it.

        Returns
        -------
        Recipe
            Its paths start from `folder`, too.

        Raises
        ------
        RecipeError
            If there is no recipe.
        """
        if self.recipe is None:
            raise RecipeError("There is no recipe. Open one, or run a task and press 'Last run'.")
        chosen = {"paths": self.paths or None, "stacks": self.stacks}
        given = {name: value for name, value in chosen.items() if value is not None}
        return self.recipe.model_copy(update={"inputs": self.recipe.inputs.model_copy(update=given)})

    def with_files(self) -> Request:
        """Return the same with files for the layers; those that come from no file are saved among the results.

        Returns
        -------
        Request
            Without layers.

        Raises
        ------
        OutputError
            If a layer cannot be saved.
        """
        if not self.layers:
            return self
        paths = tuple(str(path) for path in files_of_layers(self.layers, self.results))
        return replace(self, paths=paths, layers=())

    def runner(self, on_change: OnChange | None = None) -> Runner:
        """Return what does it; lists the images, so it may take a while.

        Parameters
        ----------
        on_change : callable, optional
            As `Runner` takes it.

        Returns
        -------
        Runner
            Not begun.

        Raises
        ------
        FoundsegError
            If there is no such image or model, or no recipe.
        """
        return Runner(
            self.chosen(), self.folder, self.out, workers=self.workers, engine=self.engine, on_change=on_change
        )

    def save(self, path: Path) -> None:
        """Save it as a recipe, whose paths start from the recipe's own folder where they lie in it.

        Parameters
        ----------
        path : Path
            A ``.yaml`` or ``.json`` file.

        Raises
        ------
        FoundsegError
            If there is no recipe, or it cannot be written.
        """
        recipe, below = self.with_files().chosen(), path.absolute().parent
        paths = tuple(_from(self.folder / entry, below) for entry in recipe.inputs.paths)
        changed = {
            "inputs": recipe.inputs.model_copy(update={"paths": paths}),
            "outputs": recipe.outputs.model_copy(update={"folder": _from(self.results, below)}),
        }
        write_recipe(path, recipe.model_copy(update=changed))


def _from(path: Path, folder: Path) -> str:
    path = path.absolute()
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()

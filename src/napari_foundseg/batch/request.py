"""`BatchRequest`: a recipe, and the user's choices that override parts of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from napari_foundseg.batch.items import output_folder
from napari_foundseg.batch.layer_sources import as_projected, save_layers
from napari_foundseg.batch.recipe import Recipe, write_recipe
from napari_foundseg.batch.runner import OnChange, Runner
from napari_foundseg.core.errors import RecipeError
from napari_foundseg.core.image import Image
from napari_foundseg.core.pixels.slab import Slab

__all__ = ["BatchRequest"]

_Layers = tuple[tuple[str, Image], ...]


@dataclass(frozen=True)
class BatchRequest:
    """A recipe, and the images, folder and workers to run it with.

    Parameters
    ----------
    recipe : Recipe or None
        None until one is chosen.
    folder : Path
        The folder to which the recipe's paths are relative.
    paths : tuple of str
        Images that replace the recipe's; empty: the recipe's.
    layers : tuple of (str, Image)
        Layers with their names, instead of files.
    channels : tuple of int or None
        The channels to use in the files of layers, if the recipe names none.
    slab : Slab or None
        The slices to project in the files of layers, if the recipe names none.
    stacks : {'whole', 'slices'} or None
        Whether a stack is one item or one item per slice; None: as in the recipe.
    measure : bool or None
        Whether tables contain measurements; None: as in the recipe.
    out : Path or None
        Folder of the results; None: the recipe's.
    workers : int
        Number of workers.
    engine : str
        Address of the scheduler whose workers run the batch; empty for processes on this computer.
    """

    recipe: Recipe | None = None
    folder: Path = field(default_factory=Path)
    paths: tuple[str, ...] = ()
    layers: _Layers = ()
    channels: tuple[int, ...] | None = None
    slab: Slab | None = None
    stacks: Literal["whole", "slices"] | None = None
    measure: bool | None = None
    out: Path | None = None
    workers: int = 1
    engine: str = ""

    @property
    def results(self) -> Path:
        """The folder of the results."""
        return output_folder(self.chosen_recipe(), self.folder, self.out)

    def chosen_recipe(self) -> Recipe:
        """Return the recipe with the user's choices in it; raise a RecipeError if there is no recipe."""
        if self.recipe is None:
            raise RecipeError("There is no recipe. Open one, or run a task and press 'Last run'.")
        chosen: dict[str, Any] = {"paths": self.paths or None, "stacks": self.stacks}
        given = {name: value for name, value in chosen.items() if value is not None}
        inputs = self.recipe.inputs
        # Channels and slab that the recipe names apply to layers, too.
        seen = {"channels": self.channels, "slab": self.slab}
        given |= {name: value for name, value in seen.items() if getattr(inputs, name) is None}
        recipe = self.recipe.model_copy(update={"inputs": inputs.model_copy(update=given)})
        return recipe if self.measure is None else recipe.measuring(self.measure)

    def with_layers_saved(self) -> BatchRequest:
        """Return the request with files instead of layers; layers that differ from their file are saved."""
        if not self.layers:
            return self
        channels, layers = self._seen_channels()
        slab, layers = self._seen_slab(layers)
        paths = tuple(str(path) for path in save_layers(layers, self.results))
        return replace(self, paths=paths, layers=(), channels=channels, slab=slab)

    @property
    def sees_slabs(self) -> bool:
        """Whether some step runs on projections if the image has a slab, instead of on single slices."""
        return any(step.parsed_settings().sees_slabs for step in self.chosen_recipe().steps)

    def _seen_channels(self) -> tuple[tuple[int, ...] | None, _Layers]:
        """Return the channels that all layers share; if they differ, None and layers of one channel each."""
        chosen = {image.chosen_channels if image.channel_choice else () for _, image in self.layers}
        if self.chosen_recipe().inputs.channels is not None or chosen == {()}:
            return None, self.layers
        if len(chosen) == 1:
            return chosen.pop(), self.layers
        return None, tuple((name, image.only_channel()) for name, image in self.layers)

    def _seen_slab(self, layers: _Layers) -> tuple[Slab | None, _Layers]:
        """Return the slab that all layers share; if they differ, None and layers of projections."""
        slabs = [image.slab for _, image in layers]
        if self.chosen_recipe().inputs.slab is not None or not any(slabs) or not self.sees_slabs:
            return None, layers
        if all(slab == slabs[0] for slab in slabs):
            return slabs[0], layers
        return None, tuple((name, as_projected(image)) for name, image in layers)

    def make_runner(self, on_change: OnChange | None = None) -> Runner:
        """Return a runner that has not started. It lists the images, which may take a while."""
        return Runner(
            self.chosen_recipe(), self.folder, self.out, workers=self.workers, engine=self.engine, on_change=on_change
        )

    def save(self, path: Path) -> None:
        """Save as a recipe; paths inside the recipe's folder become relative to it."""
        recipe = self.with_layers_saved().chosen_recipe()
        below = path.absolute().parent
        paths = tuple(_from(self.folder / entry, below) for entry in recipe.inputs.paths)
        changed = {
            "inputs": recipe.inputs.model_copy(update={"paths": paths}),
            "outputs": recipe.outputs.model_copy(update={"folder": _from(self.results, below)}),
        }
        write_recipe(path, recipe.model_copy(update=changed))


def _from(path: Path, folder: Path) -> str:
    path = path.absolute()
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()

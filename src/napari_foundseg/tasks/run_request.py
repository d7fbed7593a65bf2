"""`RunRequest`: everything that determines the result of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from napari_foundseg.core.image import Image
from napari_foundseg.core.pyramids import Level
from napari_foundseg.models.catalog import catalog
from napari_foundseg.models.row_defaults import as_expected
from napari_foundseg.tasks.settings import Inputs, Settings

__all__ = ["RunRequest"]


@dataclass(frozen=True, eq=False)
class RunRequest:
    """Everything that determines the result of a run.

    Parameters
    ----------
    task : str
        A name in `tasks.TASKS`.
    image : Image
        The image. Its pixels must not change until the run has ended. If it has no normalisation, it gets the one that
        the model expects. If it is RGB without chosen channels, it gets the channels that the model expects.
    inputs : Inputs
        The task's inputs, in pixels of the image's finest level.
    settings : Settings
        Settings of one of the task's methods, in pixels of the finest level.
    model : str
        Name of a model in the catalogue.
    level : Level, optional
        The level of the image's pyramid to run on; the finest by default.
    """

    task: str
    image: Image
    inputs: Inputs
    settings: Settings
    model: str
    level: Level | None = None

    def __post_init__(self) -> None:
        if not self.settings.sees_slabs:
            object.__setattr__(self, "image", self.image.without_slab())
        # The process that runs the task may have a model that is missing here, and raises an error if it has not.
        known = catalog().get(self.model)
        if known is None:
            return
        image = as_expected(known, self.image, self.settings.colours)
        if image is not self.image and self.level is not None:
            object.__setattr__(self, "level", Level(image, self.level.number))
        object.__setattr__(self, "image", image)

    @property
    def work(self) -> float:
        """Megapixels plus thousands of prompts, summed over all slices, for estimates: time grows with both."""
        slices, pixels = self.inputs.extent(self.image)
        return max(slices * (pixels / 1e6 + self.settings.prompts_per_slice / 1e3), 1e-3)

    def at_level(self) -> RunRequest:
        """Return the request in pixels of its level, with the level as its image; itself for the finest level."""
        if self.level is None:
            return self
        return replace(
            self,
            image=self.level.image,
            inputs=self.inputs.at_level(self.level),
            settings=self.settings.at_level(self.level),
            level=None,
        )

"""`Recipe`: what is run over which files, as one small file that a person can read and change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, JsonValue, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from napari_foundseg.batch.recipe_text import parse_text, write_text
from napari_foundseg.core.contrast import Normalisation, Percentile
from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.errors import CheckpointError, FoundsegError, RecipeError, ReplayError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import Overlap
from napari_foundseg.core.validation_messages import validation_message
from napari_foundseg.io.formats.table import label_endings, listed
from napari_foundseg.io.naming import DEFAULT_LABEL_ENDING
from napari_foundseg.io.readers import read_image
from napari_foundseg.models import catalog, store
from napari_foundseg.tasks import TASKS, Inputs, Settings
from napari_foundseg.tasks.run_request import RunRequest

__all__ = ["ModelOf", "Outputs", "Recipe", "Sources", "Step", "read_recipe", "recipe_of", "step_of", "write_recipe"]

_FORMAT: Final = "foundseg-recipe 1"


class Sources(Declared):
    """Which images, and how they are to be seen."""

    paths: tuple[str, ...] = Field(min_length=1)
    """Images, folders of images, patterns such as more/*.tif, or text files (.txt) with a name a line; relative to
    the recipe's folder."""
    recursive: bool = False
    """Whether folders in the folders are looked into."""
    axes: str | None = None
    """A letter of QTCZYX for every axis; null: what each file says."""
    channels: int | str | tuple[int | str, ...] | None = None
    """The one to three channels to look at, by number from 0 or by the file's name for them; null: RGB, else the
    first."""
    normalisation: Normalisation = Field(default_factory=Percentile)
    """How grey values become what a model sees."""
    stacks: Literal["whole", "slices"] = "whole"
    """Whether a stack is one item, or each slice along T or Z one of its own."""


class ModelOf(Declared):
    """A model; its revision and hash are filled in when a recipe is written."""

    name: str
    """Name in the catalogue."""
    revision: str | None = None
    """Version of the weights; null: the one that is here."""
    sha256: str | None = None
    """Hash of the weights; null: the ones that are here."""

    def check(self) -> str:
        """Make sure that the model here is the one that is meant.

        Returns
        -------
        str
            sha256 of its weights.

        Raises
        ------
        CheckpointError
            If it has another revision or hash, or its weights are not here.
        """
        here = store.known(catalog.row(self.name))
        if self.sha256 not in (None, here.sha256) or self.revision not in (None, here.revision):
            raise CheckpointError(
                f"Revision {self.revision or 'any'} of {here.name} is wanted (sha256 {_short(self.sha256)}), but here "
                f"is revision {here.revision} (sha256 {_short(here.sha256)}). Install the napari-foundseg that it "
                "comes with; or take revision and sha256 out of the recipe, to use what is here."
            )
        return here.sha256


class Step(Declared):
    """One task, and what becomes of its objects where there are some already."""

    task: str
    """Name of the task, such as automatic."""
    method: str | None = None
    """One of the task's methods; null: the first that the model can do."""
    model: ModelOf
    """The model."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """Settings of the method; those left out have their defaults."""
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    """What a person points at, where the task wants it."""
    rule: Overlap = "keep others"
    """After the first step: whether objects fill what is free (keep others) or win (overwrite)."""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        """Check what only the tasks and the catalogue know; pydantic takes ValueError only."""
        if self.task not in TASKS:
            raise ValueError(f"there is no task {self.task!r}; choose one of {', '.join(TASKS)}")
        try:
            self.parsed_settings()
            self.parsed_inputs()
            known = catalog.row(self.model.name)
        except FoundsegError as error:
            raise ValueError(str(error)) from error
        if self.protocol not in known.protocols:
            raise ValueError(f"{self.model.name} cannot do this: it offers {', '.join(known.protocols)}")
        return self

    @property
    def chosen_method(self) -> str:
        """The method that runs."""
        return self.method or TASKS[self.task].method_for(catalog.row(self.model.name).protocols)

    @property
    def protocol(self) -> str:
        """The protocol that the method needs of the model."""
        return TASKS[self.task].protocols[self.chosen_method]

    def parsed_settings(self) -> Settings:
        """Return the settings as the task takes them.

        Returns
        -------
        Settings
            Of the method's type, complete.
        """
        return TASKS[self.task].settings(self.chosen_method, _without_method(self.settings))

    def parsed_inputs(self) -> Inputs:
        """Return the inputs as the task takes them.

        Returns
        -------
        Inputs
            Of the task's type.
        """
        return TASKS[self.task].inputs.parse(self.inputs)


def _label_ending(ending: str) -> str:
    if ending not in label_endings():
        expected = listed([repr(known) for known in label_endings()])
        raise PydanticCustomError("label_ending", "Input should be {expected}", {"expected": expected})
    return ending


class Outputs(Declared):
    """What is written, and where."""

    folder: str = "results"
    """Folder of the results, relative to the recipe's."""
    labels: Annotated[str, AfterValidator(_label_ending)] = Field(
        DEFAULT_LABEL_ENDING, json_schema_extra=lambda schema: schema.update(enum=list(label_endings()))
    )
    """Format of the labels files."""
    table: bool = True
    """Whether a table of the objects is written beside each labels file."""


class Recipe(Declared):
    """What is run over which files."""

    format: Literal["foundseg-recipe 1"] = _FORMAT
    """What this file is."""
    inputs: Sources
    """Which images."""
    steps: tuple[Step, ...] = Field(min_length=1)
    """Which tasks, one after the other."""
    outputs: Outputs = Field(default_factory=Outputs)
    """What is written."""

    @model_validator(mode="after")
    def _begun(self) -> Self:
        first = self.steps[0]
        if TASKS[first.task].takes_labels and first.inputs.get("labels") is None:
            raise ValueError(
                f"the first step, {first.task}, says something of objects, and there are none yet: give it labels, or "
                "let a step before make some"
            )
        return self

    def digest(self) -> str:
        """Return a hash of all that determines a result, but neither paths nor the models' hashes.

        Returns
        -------
        str
            Hexadecimal sha256; equal for settings that are left out and settings that are given their defaults.
        """
        steps = [
            {
                "task": step.task,
                "method": step.chosen_method,
                "model": step.model.name,
                "settings": step.parsed_settings().model_dump(mode="json"),
                "inputs": step.parsed_inputs().model_dump(mode="json"),
                "rule": step.rule if i else None,
            }
            for i, step in enumerate(self.steps)
        ]
        seen = self.inputs.model_dump(mode="json", include={"axes", "channels", "normalisation", "stacks"})
        written = self.outputs.model_dump(mode="json", include={"labels", "table"})
        return sha256(json.dumps([seen, steps, written], sort_keys=True).encode()).hexdigest()

    def models(self) -> dict[str, str]:
        """Return the models that are needed, and check that those here are the ones that the recipe names.

        Returns
        -------
        dict of str to str
            sha256 of the weights by the model's name.

        Raises
        ------
        CheckpointError
            If a model here has another revision or hash than the recipe says.
        """
        return {step.model.name: step.model.check() for step in self.steps}


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    path : str or Path
        A ``.yaml``, ``.yml`` or ``.json`` file.

    Returns
    -------
    Recipe
        Checked, but for the files it names and the models' hashes.

    Raises
    ------
    RecipeError
        If it cannot be read, naming each field that is wrong, what was got and what was expected.
    """
    content = parse_text(Path(path))
    if not isinstance(content, Mapping):
        raise RecipeError(f"{str(path)!r} is no recipe: it holds {type(content).__name__}, not fields and values.")
    given = content.get("format")
    if given != _FORMAT:
        newer = isinstance(given, str) and given.startswith("foundseg-recipe ")
        what = "install a newer napari-foundseg to read it" if newer else f"its first line must be 'format: {_FORMAT}'"
        raise RecipeError(f"{str(path)!r}: format = {given!r}; {what}.")
    try:
        # By way of JSON: what YAML reads as a date or a set is no value here.
        return Recipe.model_validate_json(json.dumps(content, allow_nan=False))
    except ValidationError as error:
        raise RecipeError(f"{str(path)!r}: {validation_message(error)}") from error
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{str(path)!r}: a value is neither text nor a number ({error}).") from error


def write_recipe(path: str | Path, recipe: Recipe) -> None:
    """Write a recipe; revisions and hashes of its models are filled in.

    Parameters
    ----------
    path : str or Path
        A ``.yaml``, ``.yml`` or ``.json`` file.
    recipe : Recipe
        The recipe.

    Raises
    ------
    RecipeError
        If the file's name has another extension.
    OutputError
        If it cannot be written.
    """
    steps = tuple(step.model_copy(update={"model": _model_of(step.model)}) for step in recipe.steps)
    write_text(Path(path), recipe.model_copy(update={"steps": steps}).model_dump(mode="json"))


def recipe_of(request: RunRequest, paths: tuple[str, ...] = ()) -> Recipe:
    """Make the recipe of a run: one step, with the image's normalisation, and axes and channels unlike the file's.

    Parameters
    ----------
    request : RunRequest
        The run, on the finest level.
    paths : tuple of str
        The images to run on; by default the image's own file.

    Raises
    ------
    RecipeError
        If the image comes from no file and no paths are given, or if it has one channel fewer than its file and is
        none of that file's.
    """
    image = request.image
    paths = paths or ((image.source,) if image.source else ())
    if not paths:
        raise RecipeError("The image comes from no file, so a recipe cannot name it: give the files it is for.")
    values = request.settings.model_dump(mode="json")
    step = Step(
        task=request.task,
        method=values.pop("method"),
        model=_model_of(ModelOf(name=request.model)),
        settings=values,
        inputs=request.inputs.model_dump(mode="json", exclude_none=True),
    )
    axes, channels = _beyond_the_file(image)
    sources = Sources(paths=paths, axes=axes, channels=channels, normalisation=image.normalisation)
    return Recipe(inputs=sources, steps=(step,))


def step_of(provenance: Mapping[str, Any]) -> Step:
    """Return the step that a provenance tells of.

    Parameters
    ----------
    provenance : mapping
        As `tasks.provenance.record` makes it.

    Returns
    -------
    Step
        With the model's revision and hash.

    Raises
    ------
    ReplayError
        If something is missing, or of another napari-foundseg.
    """
    try:
        model, settings = provenance["model"], dict(provenance["settings"])
        return Step(
            task=provenance["task"],
            method=settings.pop("method"),
            model=ModelOf(name=model["name"], revision=model.get("revision"), sha256=model.get("sha256")),
            settings=settings,
            inputs=provenance["inputs"],
            rule=provenance.get("rule", "keep others"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReplayError(f"The provenance is incomplete, or of another napari-foundseg: {error}") from error


def _beyond_the_file(image: Image) -> tuple[str | None, int | tuple[int, ...] | None]:
    """Return axes and channels, each only where the file alone gives another picture: so it fits other files too."""
    channels = None if replace(image, channels=None).channels == image.channels else image.channels
    try:
        file = read_image(image.source) if image.source else None
    except FoundsegError:
        file = None
    if file is None:
        return image.axes, channels
    if file.axes == image.axes:
        return None, channels
    if (file.label_axes, file.shape) == (image.axes, image.shape):
        return None, _channel_of(image, file)
    return image.axes, channels


def _channel_of(image: Image, file: Image) -> int:
    """Return the channel of a file that is a layer of its own in napari."""
    indices = list(image.indices())
    some = [indices[0], indices[len(indices) // 2], indices[-1]]
    for channel in range(file.levels[0].shape[(file.axes or "").index("C")]):
        own = replace(file, channels=channel)
        if all(np.array_equal(own.raw(index), image.raw(index)) for index in some):
            return channel
    raise RecipeError(
        f"The layer holds other pixels than each channel of {str(file.source)!r}, so a recipe cannot say what it was "
        "made of. Save the layer as a file of its own, open that, and run again."
    )


def _model_of(model: ModelOf) -> ModelOf:
    here = catalog.row(model.name)
    known = None if here.sha256 == catalog.UNVERIFIED else here.sha256
    return ModelOf(name=model.name, revision=model.revision or here.revision, sha256=model.sha256 or known)


def _short(hexadecimal: str | None) -> str:
    return f"{hexadecimal[:12]}…" if hexadecimal else "any"


def _without_method(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "method"}

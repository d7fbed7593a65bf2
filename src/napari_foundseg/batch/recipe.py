"""`Recipe`: the steps and the images to run them on, as one small file that the user can read and edit."""

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
from napari_foundseg.core.pixels.slab import Slab
from napari_foundseg.core.validation_messages import validation_message
from napari_foundseg.io.formats.table import label_endings, listed
from napari_foundseg.io.naming import DEFAULT_LABEL_ENDING
from napari_foundseg.io.readers import read_image
from napari_foundseg.models import catalog, store
from napari_foundseg.tasks import TASKS, Inputs, Settings
from napari_foundseg.tasks.run_request import RunRequest

__all__ = [
    "ModelOf",
    "Outputs",
    "Recipe",
    "Sources",
    "Step",
    "colour_of",
    "read_recipe",
    "recipe_of",
    "step_of",
    "write_recipe",
]

_FORMAT: Final = "foundseg-recipe 1"
#: Fields of `Sources` that every saved recipe has, and the meaning of recipes that lack a later field.
_FIRST_FIELDS: Final = frozenset({"paths", "recursive", "axes", "channels", "normalisation", "stacks"})
_MEANT_BEFORE: Final = {"inside": "first", "colour": "RGB"}


class Sources(Declared):
    """The images, and how they are read."""

    paths: tuple[str, ...] = Field(min_length=1)
    """Images, folders of images, patterns such as more/*.tif, or text files (.txt) with one name per line; relative to
    the recipe's folder."""
    recursive: bool = False
    """Whether to search subfolders."""
    axes: str | None = None
    """One letter of QTCZYX for each axis; null: as each file says."""
    channels: int | str | tuple[int | str, ...] | None = None
    """The one to three channels to use, by number from 0 or by name; null: RGB, else the first. An image without
    channels is its own channel 0."""
    colour: Literal["automatic", "RGB"] = "automatic"
    """How RGB images are used if channels is null. Automatic: if the model expects grey pictures, images of one colour
    or of dyes on black are recognised, and one channel is used as a grey picture. RGB: all three colours."""
    normalisation: Normalisation = Field(default_factory=lambda: Percentile(outliers="kept"))
    """How grey values are converted for the model."""
    slab: Slab | None = None
    """Models see a projection of neighbouring slices, such as {"mode": "max", "margins": {"Z": [2, 2]}}; null: each
    slice alone."""
    stacks: Literal["whole", "slices"] = "whole"
    """Whether a stack is one item, or each slice along T or Z is an item."""
    inside: Literal["all", "first"] = "all"
    """Which images of a file that holds several, such as the positions of an OME-TIFF: all of the same kind as the
    largest, each as an item, or only the first in the file."""

    @property
    def measures_colour(self) -> bool:
        """Whether the channel is chosen from the colours found in each RGB image."""
        return self.channels is None and self.colour == "automatic"


class ModelOf(Declared):
    """A model; its revision and hash are filled in when a recipe is written."""

    name: str
    """Name in the catalogue."""
    revision: str | None = None
    """Version of the weights; null: the installed version."""
    sha256: str | None = None
    """Hash of the weights; null: the installed weights."""

    def check(self) -> str:
        """Return the sha256 of the installed model; raise a CheckpointError if it is not the recipe's."""
        here = store.row_with_hash(catalog.row(self.name))
        if self.sha256 not in (None, here.sha256) or self.revision not in (None, here.revision):
            raise CheckpointError(
                f"Revision {self.revision or 'any'} of {here.name} is wanted (sha256 {_short(self.sha256)}), but here "
                f"is revision {here.revision} (sha256 {_short(here.sha256)}). Install the napari-foundseg that it "
                "comes with; or take revision and sha256 out of the recipe, to use what is here."
            )
        return here.sha256


class Step(Declared):
    """One task, and the rule for its objects where they overlap those of earlier steps."""

    task: str
    """Name of the task, such as automatic."""
    method: str | None = None
    """One of the task's methods; null: the first that the model supports."""
    model: ModelOf
    """The model."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """Settings of the method; those left out have the method's defaults, whatever the model's own are; link is none,
    link_rule best match and, in a file, find_diameter second look."""
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    """Prompts, labels or words, if the task needs them."""
    rule: Overlap = "keep others"
    """After the first step: whether objects fill free pixels only (keep others) or replace earlier objects
    (overwrite)."""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        """Check names, settings and inputs against the tasks and the catalogue; pydantic accepts only ValueError."""
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
        """The step's method, or the first of the task that the model can run."""
        return self.method or TASKS[self.task].method_for(catalog.row(self.model.name).protocols)

    @property
    def protocol(self) -> str:
        """The protocol that the model must offer for the method."""
        return TASKS[self.task].protocols[self.chosen_method]

    def parsed_settings(self) -> Settings:
        """Return the settings as an object of the method's settings class."""
        return TASKS[self.task].settings_of_record(self.chosen_method, _without_method(self.settings), stored=False)

    def as_stored(self) -> Step:
        """Return a step read from a file; settings newer than the file get the values used before they existed."""
        return self._with_settings(TASKS[self.task].methods[self.chosen_method].absent_values())

    def to_store(self) -> Step:
        """Return the step with every setting whose absence in a file would mean something else."""
        return self._with_settings(self.parsed_settings().model_dump(mode="json"))

    def _with_settings(self, values: Mapping[str, Any]) -> Step:
        names = TASKS[self.task].methods[self.chosen_method].names_of_new()
        new = {name: values[name] for name in names if name not in self.settings}
        return self.model_copy(update={"settings": {**self.settings, **new}}) if new else self

    def parsed_inputs(self) -> Inputs:
        """Return the inputs as an object of the task's inputs class."""
        return TASKS[self.task].inputs.parse(self.inputs)


def _label_ending(ending: str) -> str:
    if ending not in label_endings():
        expected = listed([repr(known) for known in label_endings()])
        raise PydanticCustomError("label_ending", "Input should be {expected}", {"expected": expected})
    return ending


class Outputs(Declared):
    """The files of a result, and their folder."""

    folder: str = "results"
    """Folder of the results, relative to the recipe's folder."""
    labels: Annotated[str, AfterValidator(_label_ending)] = Field(
        DEFAULT_LABEL_ENDING, json_schema_extra=lambda schema: schema.update(enum=list(label_endings()))
    )
    """Format of the labels files."""
    table: bool = True
    """Whether a table of the objects is written next to each labels file."""
    measure: bool = False
    """Whether the table also has the measurements of Objects: size in the image's unit, shape, intensities."""

    @model_validator(mode="after")
    def _measured_in_a_table(self) -> Self:
        if self.measure and not self.table:
            raise ValueError("measurements are columns of the table: measure needs table: true")
        return self


class Recipe(Declared):
    """The steps, and the images to run them on."""

    format: Literal["foundseg-recipe 1"] = _FORMAT
    """Format of this file."""
    inputs: Sources
    """The images."""
    steps: tuple[Step, ...] = Field(min_length=1)
    """The tasks, in the order in which they run."""
    outputs: Outputs = Field(default_factory=Outputs)
    """The files to write."""

    @model_validator(mode="after")
    def _begun(self) -> Self:
        first = self.steps[0]
        if TASKS[first.task].takes_labels and first.inputs.get("labels") is None:
            raise ValueError(
                f"the first step, {first.task}, needs objects, and there are none yet: give it labels, or add a "
                "step before it that makes some"
            )
        return self

    def digest(self) -> str:
        """Return a sha256 of all settings that determine a result, with defaults, without paths and model hashes."""
        steps = [
            {
                "task": step.task,
                "method": step.chosen_method,
                "model": step.model.name,
                "settings": step.parsed_settings().digested(),
                "inputs": step.parsed_inputs().digested(),
                "rule": step.rule if i else None,
            }
            for i, step in enumerate(self.steps)
        ]
        # Results made before `colour` existed stay current in recipes that always use RGB.
        colour = {"colour"} if self.inputs.measures_colour else set()
        slab = {"slab"} if self.inputs.slab is not None else set()
        fields = {"axes", "channels", "normalisation", "stacks", *colour, *slab}
        seen = self.inputs.model_dump(mode="json", include=fields)
        # Results made before `measure` existed stay current.
        also = {"measure"} if self.outputs.measure else set()
        written = self.outputs.model_dump(mode="json", include={"labels", "table", *also})
        return sha256(json.dumps([seen, steps, written], sort_keys=True).encode()).hexdigest()

    def measuring(self, measure: bool) -> Recipe:
        """Return the recipe with or without measurements; raise a RecipeError if it writes no table."""
        try:
            outputs = Outputs.model_validate({**self.outputs.model_dump(), "measure": measure})
        except ValidationError as error:
            raise RecipeError(validation_message(error)) from error
        return self.model_copy(update={"outputs": outputs})

    def models(self) -> dict[str, str]:
        """Return the sha256 of each model by name; raise a CheckpointError if an installed one is not the recipe's."""
        return {step.model.name: step.model.check() for step in self.steps}


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe from YAML or JSON; raise a RecipeError if it is not valid."""
    content = parse_text(Path(path))
    if not isinstance(content, Mapping):
        raise RecipeError(f"{str(path)!r} is not a recipe: expected fields and values, got {type(content).__name__}.")
    given = content.get("format")
    if given != _FORMAT:
        newer = isinstance(given, str) and given.startswith("foundseg-recipe ")
        what = "install a newer napari-foundseg to read it" if newer else f"its first line must be 'format: {_FORMAT}'"
        raise RecipeError(f"{str(path)!r}: format = {given!r}; {what}.")
    try:
        # Through JSON, which refuses the dates and sets that YAML reads.
        recipe = Recipe.model_validate_json(json.dumps(_completed(content), allow_nan=False))
    except ValidationError as error:
        raise RecipeError(f"{str(path)!r}: {validation_message(error)}") from error
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{str(path)!r}: a value is neither text nor a number ({error}).") from error
    return recipe.model_copy(update={"steps": tuple(step.as_stored() for step in recipe.steps)})


def _completed(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fill in fields of `Sources` that a saved recipe lacks because they did not exist yet.

    Saving writes every field. A recipe that lacks the first fields, too, was written by hand and gets the defaults.
    """
    inputs = content.get("inputs")
    if not isinstance(inputs, Mapping) or not set(inputs) >= _FIRST_FIELDS:
        return content
    return {**content, "inputs": {**_MEANT_BEFORE, **inputs}}


def write_recipe(path: str | Path, recipe: Recipe) -> None:
    """Write a recipe, with revisions and hashes of its models filled in."""
    steps = tuple(step.to_store().model_copy(update={"model": _model_of(step.model)}) for step in recipe.steps)
    write_text(Path(path), recipe.model_copy(update={"steps": steps}).model_dump(mode="json"))


def recipe_of(request: RunRequest, paths: tuple[str, ...] = ()) -> Recipe:
    """Return the recipe of a run: one step, the image's normalisation, and axes and channels where they differ.

    Axes and channels that equal the file's are left out, so that the recipe fits other files. The recipe measures
    objects, which recipes without that field do not.
    """
    image = request.image
    paths = paths or ((image.source,) if image.source else ())
    if not paths:
        raise RecipeError("The image comes from no file, so a recipe cannot name it. Give the recipe's files.")
    values = request.settings.model_dump(mode="json")
    step = Step(
        task=request.task,
        method=values.pop("method"),
        model=_model_of(ModelOf(name=request.model)),
        settings=values,
        inputs=request.inputs.model_dump(mode="json", exclude_none=True),
    )
    axes, channels = _beyond_the_file(image)
    sources = Sources(
        paths=paths,
        axes=axes,
        channels=channels,
        colour=colour_of(image),
        normalisation=image.normalisation or Percentile(),
        slab=image.slab,
    )
    return Recipe(inputs=sources, steps=(step,), outputs=Outputs(measure=True))


def colour_of(image: Image) -> Literal["automatic", "RGB"]:
    """Return how a recipe made from an image treats RGB images, if it names no channels."""
    return "RGB" if image.is_rgb and image.chooses_channels else "automatic"


def step_of(provenance: Mapping[str, Any]) -> Step:
    """Return the step that a provenance records; raise a ReplayError if it is incomplete."""
    try:
        model = provenance["model"]
        settings = dict(provenance["settings"])
        return Step(
            task=provenance["task"],
            method=settings.pop("method"),
            model=ModelOf(name=model["name"], revision=model.get("revision"), sha256=model.get("sha256")),
            settings=settings,
            inputs=provenance["inputs"],
            rule=provenance.get("rule", "keep others"),
        ).as_stored()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReplayError(f"The provenance is incomplete, or of another napari-foundseg: {error}") from error


def _beyond_the_file(image: Image) -> tuple[str | None, int | tuple[int, ...] | None]:
    """Return axes and channels, None where they equal the file's, so that the recipe also fits other files."""
    # A choice is recorded even if it is the default: the user segmented the channels that were shown.
    channels = image.chosen_channels if image.channel_choice and not image.measured_channels else None
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
    """Return the number of the channel that a layer is in its file, since napari splits channels into layers."""
    indices = list(image.indices())
    some = [indices[0], indices[len(indices) // 2], indices[-1]]
    for channel in range(file.levels[0].shape[(file.axes or "").index("C")]):
        own = replace(file, channels=channel)
        if all(np.array_equal(own.raw(index), image.raw(index)) for index in some):
            return channel
    raise RecipeError(
        f"The layer differs from every channel of {str(file.source)!r}, so a recipe cannot name its pixels. "
        "Save the layer as a file, open that file, and run again."
    )


def _model_of(model: ModelOf) -> ModelOf:
    here = catalog.row(model.name)
    known = None if here.sha256 == catalog.UNVERIFIED else here.sha256
    return ModelOf(name=model.name, revision=model.revision or here.revision, sha256=model.sha256 or known)


def _short(hexadecimal: str | None) -> str:
    return f"{hexadecimal[:12]}…" if hexadecimal else "any"


def _without_method(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "method"}

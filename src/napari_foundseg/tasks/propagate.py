"""Propagation: objects marked in one or several slices are followed through all slices of a range.

A model with a memory of frames follows objects itself (`memory`). A model that sees a whole volume finds them in it
(`volume`). With any other promptable model, the mask of a slice becomes the prompt of the next (`projection`, in
`tasks.frames`). A prompt that is only a mask is an existing object, which is kept unchanged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, field_serializer, field_validator

from napari_foundseg.core.errors import Cancelled, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.painting import Painting
from napari_foundseg.core.pixels.colour import ColourRule
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.protocols.volumes import Server
from napari_foundseg.tasks.frames.following import Following, Part, StopRule
from napari_foundseg.tasks.frames.found import Expected, Found
from napari_foundseg.tasks.frames.in_volume import Painted, find_in_volume
from napari_foundseg.tasks.frames.marks import decoded_marks
from napari_foundseg.tasks.frames.memory import follow_with_memory
from napari_foundseg.tasks.frames.projection import Projection
from napari_foundseg.tasks.frames.range_of_slices import Way, ways_of
from napari_foundseg.tasks.prompt import python_prompt
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Inputs, Settings, Task

if TYPE_CHECKING:
    from napari_foundseg.core.pyramids import Level
    from napari_foundseg.tasks.settings import Progress

__all__ = ["TASK", "MemorySettings", "ProjectionSettings", "PropagateInputs", "VolumeSettings"]

#: Pixels of the window that is read for an object in each slice, to estimate times.
_WINDOW = 256 * 256


class PropagateInputs(Inputs):
    """Prompts of the user, and the range of slices through which objects are followed."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    prompts: dict[int, tuple[Prompt, ...]] = Field(min_length=1)
    """One or more prompts for each object id, each in one slice. A list of prompts means objects 1, 2 and so on. A
    prompt that is only a mask is kept as it is."""
    axis: str | None = None
    """The axis to follow objects along, Z or T; by default the only one with several slices."""
    first: int | None = Field(None, ge=0)
    """First slice, from 0; by default the first of all."""
    last: int | None = Field(None, ge=0)
    """Last slice, which is included; by default the last of all."""

    @field_validator("prompts", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        if isinstance(value, Prompt):
            value = [value]
        if not isinstance(value, Mapping):
            value = {i: [one] for i, one in enumerate(value, 1)}
        return {key: _prompts(some) for key, some in value.items()}

    @field_validator("prompts")
    @classmethod
    def _with_ids(cls, value: dict[int, tuple[Prompt, ...]]) -> dict[int, tuple[Prompt, ...]]:
        for label, some in value.items():
            if label < 1 or not some:
                raise ValueError(f"objects have ids from 1 and at least one prompt each, got {label} with {len(some)}")
        return value

    @field_serializer("prompts")
    def _to_json(self, prompts: dict[int, tuple[Prompt, ...]]) -> dict[str, list[dict[str, Any]]]:
        return {str(label): [prompt.to_json() for prompt in some] for label, some in prompts.items()}

    def extent(self, image: Image) -> tuple[int, int]:
        """Return the number of slices, and the pixels that are read in each for all objects."""
        ways = ways_of(image, self.prompts, self.axis, self.first, self.last)
        objects = sum(len(way.prompts) for way in ways)
        return ways[0].last - ways[0].first + 1, objects * _WINDOW

    def at_level(self, level: Level) -> Self:
        """Return these inputs with the prompts in pixels of a coarser level of a pyramid."""
        coarser = {label: tuple(map(level.prompt, some)) for label, some in self.prompts.items()}
        return self.model_copy(update={"prompts": coarser})

    def python_arguments(self, without: Collection[str] = ()) -> dict[str, str]:
        """Return the source text of the prompts as a dict of lists of `Prompt` objects."""
        shown = (f"{label}: [{', '.join(map(python_prompt, some))}]" for label, some in self.prompts.items())
        return super().python_arguments({"prompts", *without}) | {"prompts": f"{{{', '.join(shown)}}}"}


def _prompts(value: Any) -> tuple[Prompt, ...]:
    some = [value] if isinstance(value, Prompt | Mapping) else value
    return tuple(Prompt.from_json(dict(one)) if isinstance(one, Mapping) else one for one in some)


class ProjectionSettings(Settings):
    """The mask of each slice is the prompt of the next."""

    first_speed: ClassVar[float] = 1.5
    colours: ClassVar[ColourRule] = "grey"
    method: Literal["projection"] = Field("projection", title="From slice to slice")
    min_score: float = Field(0.5, ge=0, le=1, title="Stop below predicted IoU", json_schema_extra={"step": 0.05})
    """An object ends where the predicted IoU of its mask is lower than this."""
    min_contrast: float = Field(0.35, ge=0, le=1, title="Stop below contrast", json_schema_extra={"step": 0.05})
    """An object ends where less than this share of its contrast with its surroundings is left. 0: never."""
    bridge: int = Field(1, ge=0, le=20, title="Slices to bridge")
    """Maximum number of consecutive slices in which an object may be invisible, such as dark ones; they stay empty."""


class MemorySettings(Settings):
    """The model follows objects by its memory of the slices before."""

    first_speed: ClassVar[float] = 30.0
    colours: ClassVar[ColourRule] = "grey"
    method: Literal["memory"] = Field("memory", title="With memory")
    min_presence: float = Field(0.5, ge=0, le=1, title="Stop below presence", json_schema_extra={"step": 0.05})
    """A slice in which the object's probability is lower than this stays empty."""
    largest_part: bool = Field(False, title="Largest part only")
    """Keep only the largest connected part of each mask."""


class VolumeSettings(Settings):
    """The model sees the range of slices as a volume, and finds each object in all of them at once."""

    first_speed: ClassVar[float] = 0.5
    sees_slabs: ClassVar[bool] = False
    colours: ClassVar[ColourRule] = "grey"
    method: Literal["volume"] = Field("volume", title="In the volume")
    server: str = ""
    """Address of the server that runs the model, such as http://localhost:1527. If it needs a key, the key is read from
    the variable NN_INTERACTIVE_API_KEY."""
    painted: Painted = Field("the object", title="Painted slices are")
    """Meaning of existing objects and of prompts that are only a mask: the complete object in that slice, which is kept
    as it is, or strokes on it, which the result replaces."""
    timeout: float = Field(120.0, gt=0, le=3600, title="Seconds to wait", json_schema_extra={"more": True})
    """Seconds to wait for an answer of the server; sending the volume may take ten times as long."""


def run(
    image: Image,
    inputs: PropagateInputs,
    settings: ProjectionSettings | MemorySettings | VolumeSettings,
    model: Any,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Follow every object through the range.

    ``masks`` holds the mask of each object in each slice. `progress` gets each slice as soon as it is done, as an item
    of ``{"parts": [...]}``: the slice's index, and the masks of the objects that changed in it, by id.
    """
    started = time.perf_counter()
    ways = ways_of(image, inputs.prompts, inputs.axis, inputs.first, inputs.last)
    masks: dict[tuple[int, tuple[int, ...]], Mask] = {}
    told: dict[str, Any] = {"axis": ways[0].axis, "first": ways[0].first, "last": ways[0].last}
    ends: dict[str, dict[str, str]] = {}
    unreadable: dict[str, str] = {}
    notes: list[str] = []
    for number, way in enumerate(ways):
        teller = _Teller(way, progress, cancelled, number / len(ways), 1 / len(ways))
        if isinstance(settings, MemorySettings):
            found = follow_with_memory(
                image, model, way, teller.poll, teller.emit,
                min_presence=settings.min_presence, largest_part=settings.largest_part,
            )  # fmt: skip
        elif isinstance(settings, VolumeSettings):
            server = Server(settings.server, settings.timeout)
            seen = find_in_volume(image, model, way, server, settings.painted, teller.poll, teller.emit)
            found = seen.found
            notes.append(seen.said)
            unreadable |= {str(list(way.index(at))): why for at, why in seen.unreadable.items()}
        else:
            following = _projected(image, model, way, settings, teller)
            found = following.found
            ends |= {str(label): why for label, why in following.ends.items() if why}
            unreadable |= {str(list(way.index(at))): why for at, why in following.unreadable.items()}
        for at, here in found.items():
            for label, one in here.items():
                masks[label, way.index(at)] = replace(one.mask, index=way.index(at), label=label)
    request = RunRequest("propagate", image, inputs, settings, model.name)
    notes += [f"Slice {index} could not be read and was left out: {why}" for index, why in unreadable.items()]
    if empty := sorted(inputs.prompts.keys() - {label for label, _ in masks}):
        notes.append(f"Nothing was found of objects {', '.join(map(str, empty))}.")
    notes = list(dict.fromkeys(notes))
    told |= {"ends": ends, "notes": notes}
    return _assembled(image, inputs, masks, {**record(request, model, started), "propagation": told})


class _Teller:
    """Reporter of the progress along one way, which also passes on finished slices."""

    def __init__(self, way: Way, progress: Progress, cancelled: Callable[[], bool], begin: float, share: float) -> None:
        self._way = way
        self._progress: Any = progress
        self._cancelled = cancelled
        self._begin = begin
        self._share = share
        self.following: Following | None = None
        self._slices: set[int] = set()

    def poll(self, _share: float = 0.0) -> None:
        """Raise `Cancelled` if the user has cancelled the run."""
        if self._cancelled():
            raise Cancelled("Propagation was cancelled; the slices that were done are kept.")

    def emit(self, part: Part) -> None:
        """Report the progress and pass on a finished slice."""
        at, masks = part
        self._slices.add(at)
        steps = self.following
        count = self._way.last - self._way.first + 1
        done = len(self._slices) / count if steps is None else steps.done / max(1, steps.left)
        words = f"slice {at}: {len(self._slices)} of at most {count}"
        share = self._begin + self._share * min(1.0, done)
        self._progress(share, words, {"parts": [(self._way.index(at), masks)]})


def _projected(image: Image, model: Any, way: Way, settings: ProjectionSettings, teller: _Teller) -> Following:
    marks = decoded_marks(image, model, way, teller.poll)
    projection = Projection(image, model, teller.poll)
    stop = StopRule(settings.min_score, settings.min_contrast, settings.bridge)

    def onto(at: int, expected: Sequence[Expected], others: Sequence[Mask]) -> list[Found]:
        teller.poll()
        return projection.onto(way.index(at), expected, others)

    following = teller.following = Following(marks, way.first, way.last, onto, stop, teller.emit)
    following.run()
    return following


def _assembled(
    image: Image, inputs: PropagateInputs, found: Mapping[tuple[int, tuple[int, ...]], Mask], provenance: dict[str, Any]
) -> Segmentation:
    if not found:
        raise PromptError(f"Nothing was made of objects {sorted(inputs.prompts)}.")
    order = sorted(found)
    masks = tuple(found[key] for key in order)
    painting = Painting(image.shape, image.label_axes, masks, tuple(label for label, _ in order))
    return Segmentation(painting, painting.table(), provenance=provenance, masks=masks)


def slices(image: Image, inputs: PropagateInputs) -> list[tuple[int, ...]]:
    """Return the slices with prompts, which a run reads first.

    Parameters
    ----------
    image : Image
        The image.
    inputs : PropagateInputs
        The prompts.

    Returns
    -------
    list of tuple of int
        Sorted, each once.
    """
    ways = ways_of(image, inputs.prompts, inputs.axis, inputs.first, inputs.last)
    return sorted({way.index(at) for way in ways for marked in way.prompts.values() for at in marked})


TASK = Task(
    name="propagate",
    title="Propagate",
    inputs=PropagateInputs,
    methods={"memory": MemorySettings, "projection": ProjectionSettings, "volume": VolumeSettings},
    protocols={"memory": "Propagating", "projection": "Promptable", "volume": "PromptableVolume"},
    function=run,
    slices=slices,
    menus=("segment",),
    reads_once=True,
)

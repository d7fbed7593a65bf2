"""Prompting: points, boxes and masks that each mean one object.

The scale at which an object is looked at depends on the prompt. A click is first decoded at native resolution, in the
window in which it is most central. Several clicks are decoded in a window that holds them all, at the scale at which
the first of them showed its object. A box is decoded at the scale at which it comes nearest to filling a third of the
window.

Some masks are decoded again. If a mask reaches the window's border, it is decoded at half the scale; so is a mask of
clicks that the model doubts, because a large object looks like nothing in a small window. The mask of clicks is decoded
again at the scale at which the mask comes nearest to filling a third of the window, as if a box had been drawn around
it, unless windows are slow to encode. `tasks.windows.looks` decides which of these looks are worthwhile and which mask
is taken. If a click has also shown another object, a part or a whole, that is its last candidate. A mask that could be
better is decoded once more as if the click had been in its middle, which says more about an object than a place near
its outline. If a quick model has an instance decoder, clicks are decoded in the box of the instance under them, too
(`tasks.windows.clicked_instance`).

Several clicks are decoded one after the other, each with the mask before it. If the mask leaves out a click, or
includes one that means "not this", the three masks that the model has for one click are considered too. Clicks with a
mask correct its outline: the threshold of the logits is moved, within limits, so that each click is on its side of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, field_serializer, field_validator

from napari_foundseg.core.errors import Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask, iou
from napari_foundseg.core.painting import Painting
from napari_foundseg.core.pixels.colour import ColourRule
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.protocols.objects import Promptable
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Inputs, Progress, Settings, Task
from napari_foundseg.tasks.windows.looking import Looking
from napari_foundseg.tasks.windows.looks import DOUBT, SAME, Look

if TYPE_CHECKING:
    from napari_foundseg.core.pyramids import Level

__all__ = ["TASK", "PromptInputs", "PromptSettings", "python_prompt"]

#: The most masks that are offered for one prompt.
_MOST = 4


class PromptInputs(Inputs):
    """Prompts of the user."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    prompts: tuple[Prompt, ...] = Field(min_length=1)
    """Each prompt marks one object; prompt i becomes label i + 1."""

    @field_validator("prompts", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return tuple(Prompt.from_json(item) if isinstance(item, dict) else item for item in value)

    @field_serializer("prompts")
    def _to_json(self, prompts: tuple[Prompt, ...]) -> list[dict[str, Any]]:
        return [prompt.to_json() for prompt in prompts]

    def extent(self, image: Image) -> tuple[int, int]:
        """Return 1, since clicks are made in one slice, and the number of its pixels."""
        height, width = image.plane_shape
        return 1, height * width

    def at_level(self, level: Level) -> Self:
        """Return these inputs with the prompts in pixels of a coarser level of a pyramid."""
        return self.model_copy(update={"prompts": tuple(map(level.prompt, self.prompts))})

    def python_arguments(self, without: Collection[str] = ()) -> dict[str, str]:
        """Return the source text of the prompts as a list of `Prompt` objects."""
        shown = f"[{', '.join(map(python_prompt, self.prompts))}]"
        return super().python_arguments({"prompts", *without}) | {"prompts": shown}


def python_prompt(prompt: Prompt) -> str:
    """Return the source text that creates a prompt."""
    values = prompt.to_json()
    if prompt.mask is not None:
        # The mask is compressed here; the constructor takes its pixels.
        return f"fs.Prompt.from_json({values!r})"
    return f"fs.Prompt({', '.join(f'{name}={value!r}' for name, value in values.items())})"


class PromptSettings(Settings):
    """Promptable segmentation (SAM)."""

    first_speed: ClassVar[float] = 0.1
    colours: ClassVar[ColourRule] = "grey"
    method: Literal["sam"] = Field("sam", title="SAM")
    output: Literal["auto", "best of three", "single"] = Field("auto", title="Mask choice")
    """Which of the model's masks to use. Best of three also considers the part and the whole of the clicked object;
    single uses one. Auto: best of three for one click, else single."""
    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra={"more": True})
    """On: segment the object at full resolution, in a tile that fits it. Off: shrink the whole image to the model's
    input."""


def run(
    image: Image,
    inputs: PromptInputs,
    settings: PromptSettings,
    model: Promptable,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Make one object of each prompt.

    Prompt i is label i + 1 in the result. ``masks`` holds each prompt's candidates, best first.
    """
    started = time.perf_counter()

    def poll(share: float) -> None:
        if cancelled():
            raise Cancelled("Prompting was cancelled.")
        progress(share, "decoding prompts")

    looking = Looking(image, model, poll, tile=settings.tile, output=settings.output)
    found = looking.at(inputs.prompts)
    candidates = [_offered(looks, looking.wants_several(p)) for looks, p in zip(found, inputs.prompts, strict=True)]
    request = RunRequest("prompt", image, inputs, settings, model.name)
    scales = [round(looking.scale(looks[0].level), 4) for looks in found]
    return _assemble(image, candidates, {**record(request, model, started), "scales": scales})


def slices(image: Image, inputs: PromptInputs) -> list[tuple[int, ...]]:
    """Return the slices that a run reads.

    Parameters
    ----------
    image : Image
        The image.
    inputs : PromptInputs
        The prompts.

    Returns
    -------
    list of tuple of int
        Sorted, each once.
    """
    return sorted({prompt.in_plane(image.shape, image.label_axes)[0] for prompt in inputs.prompts})


def _offered(looks: list[Look], several: bool) -> list[Mask]:
    """Return the masks of the best look and, if `several`, the mask of another object that the prompt has shown."""
    masks = looks[0].masks
    others = [look.masks[0] for look in looks[1:] if not look.cut and look.masks[0].area]
    others = [o for o in others if o.predicted_iou >= DOUBT and all(iou(o, mask) < SAME for mask in masks)]
    if not several or not others or len(masks) >= _MOST:
        return masks
    return [*masks, max(others, key=lambda mask: mask.predicted_iou)]


def _assemble(image: Image, candidates: list[list[Mask]], provenance: dict[str, Any]) -> Segmentation:
    painting = Painting(image.shape, image.label_axes, tuple(masks[0] for masks in candidates))
    flat = tuple(mask for masks in candidates for mask in masks)
    return Segmentation(painting, painting.table(), provenance=provenance, masks=flat)


TASK = Task(
    name="prompt",
    title="Prompt",
    inputs=PromptInputs,
    methods={"sam": PromptSettings},
    protocols={"sam": "Promptable"},
    function=run,
    slices=slices,
    menus=("segment", "annotate"),
    # The time of a click says nothing about the next one.
    learns_time=False,
)

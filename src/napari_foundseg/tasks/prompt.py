"""Prompting: points, boxes and masks that each mean one object.

At which scale an object is looked at: a click at native resolution first, in the window where it lies most central;
several points where the first of them shows its object, in a window that holds them all; a box where it comes nearest
to filling a third of the window. A mask that reaches the window's border is decoded again at half the scale, and so is
one of clicks that the model doubts: a large object looks like nothing in a small window. The mask of clicks is decoded
again where *it* comes nearest to filling a third of the window, as if a box had been drawn around it, unless windows
are slow to encode. `tasks.windows.looks` says which looks are worth it and which mask is taken. Where a click has shown
another object too, a part or a whole, that is its last candidate.

Several clicks are given one after the other, each with the mask before. Where the mask leaves out a click or takes in
one that means "not this", the three masks that the model has for one click are considered too. Clicks given with a mask
correct its outline: the threshold of the logits is moved, within limits, so that they lie on their side of it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, field_serializer, field_validator

from napari_foundseg.core.errors import Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask, iou
from napari_foundseg.core.painting import Painting
from napari_foundseg.core.pixels.colour import ColourRule
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.protocols import Candidates, Promptable
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Inputs, Progress, Settings, Task
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.click_threshold import click_threshold
from napari_foundseg.tasks.windows.embeddings import embedding
from napari_foundseg.tasks.windows.looks import CLEAR, DOUBT, MOST_SIDES, SAME, Look, disobeyed
from napari_foundseg.tasks.windows.shrunk import Shrunk

if TYPE_CHECKING:
    from napari_foundseg.core.pyramids import Level

__all__ = ["TASK", "PromptInputs", "PromptSettings"]

#: Masks that are offered of one prompt.
_MOST = 4


class PromptInputs(Inputs):
    """What the user points at."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    prompts: tuple[Prompt, ...] = Field(min_length=1)
    """Each means one object; prompt i becomes label i + 1."""

    @field_validator("prompts", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return tuple(Prompt.from_json(item) if isinstance(item, dict) else item for item in value)

    @field_serializer("prompts")
    def _to_json(self, prompts: tuple[Prompt, ...]) -> list[dict[str, Any]]:
        return [prompt.to_json() for prompt in prompts]

    def extent(self, image: Image) -> tuple[int, int]:
        """Return one slice and its pixels."""
        height, width = image.plane_shape
        return 1, height * width

    def at_level(self, level: Level) -> Self:
        """Return the prompts in pixels of a coarser level of a pyramid."""
        return self.model_copy(update={"prompts": tuple(map(level.prompt, self.prompts))})

    def python_arguments(self, without: Collection[str] = ()) -> dict[str, str]:
        """Return the prompts as source text."""
        shown = f"[{', '.join(map(_python_prompt, self.prompts))}]"
        return super().python_arguments({"prompts", *without}) | {"prompts": shown}


def _python_prompt(prompt: Prompt) -> str:
    values = prompt.to_json()
    if prompt.mask is not None:
        # Compressed: the constructor takes the mask's pixels.
        return f"fs.Prompt.from_json({values!r})"
    return f"fs.Prompt({', '.join(f'{name}={value!r}' for name, value in values.items())})"


class PromptSettings(Settings):
    """Promptable segmentation (SAM)."""

    first_speed: ClassVar[float] = 0.1
    colours: ClassVar[ColourRule] = "grey"
    method: Literal["sam"] = Field("sam", title="SAM")
    output: Literal["auto", "best of three", "single"] = Field("auto", title="Mask choice")
    """Which of the model's masks to take. Best of three also considers the part and the whole of what was clicked;
    single takes one. Auto: best of three for one click, else single."""
    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra={"more": True})
    """On: look at the object at full resolution, in a tile that fits it. Off: shrink the whole image to the model's
    input."""


@dataclass(frozen=True, eq=False)
class _Target:
    """One prompt, the slice it lies in, and the level at which it is looked at."""

    label: int
    index: tuple[int, ...]
    prompt: Prompt
    level: int

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Least and largest row and column of all that the prompt shows."""
        corners = [list(point) for point in self.prompt.points]
        if self.prompt.box is not None:
            corners += [list(self.prompt.box[:2]), list(self.prompt.box[2:])]
        if self.prompt.mask is not None:
            rows, columns = np.nonzero(self.prompt.mask)
            corners += [[rows.min(), columns.min()], [rows.max(), columns.max()]]
        (y0, x0), (y1, x1) = np.min(corners, axis=0), np.max(corners, axis=0)
        return float(y0), float(x0), float(y1), float(x1)

    @property
    def by_clicks(self) -> bool:
        """Whether points are all there is."""
        return self.prompt.box is None and self.prompt.mask is None

    @property
    def starts_with_a_click(self) -> bool:
        """Whether there are several clicks, the first on the object."""
        return self.by_clicks and len(self.prompt.points) > 1 and (self.prompt.labels or (0,))[0] == 1

    def first_click(self) -> _Target:
        """Return the same of the first click alone."""
        return replace(self, prompt=Prompt(self.prompt.points[:1], [1]))

    def wants_several(self, output: str) -> bool:
        """Tell whether the model is to propose several masks."""
        one_click = len(self.prompt.points) == 1 and self.by_clicks
        return output == "best of three" or (output == "auto" and one_click)


def run(
    image: Image,
    inputs: PromptInputs,
    settings: PromptSettings,
    model: Promptable,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Make one object of each prompt.

    In the result prompt i is label i + 1; ``masks`` holds each prompt's candidates, best first.
    """
    started = time.perf_counter()
    targets = [_target(i + 1, prompt, image, model.window, settings) for i, prompt in enumerate(inputs.prompts)]
    looks = _Looks(image, settings, model, progress, cancelled)
    firsts = [target.first_click() for target in targets if looks.quick and target.starts_with_a_click]
    shown = looks.at(firsts)
    for i, target in enumerate(targets):
        if target.label in shown:
            level = max(target.level, shown[target.label][0].level)
            targets[i] = replace(target, level=_holding(target, level, image.plane_shape, model.window))
    found = looks.at(targets)
    candidates = [_offered(found[target.label], target.wants_several(settings.output)) for target in targets]
    request = RunRequest("prompt", image, inputs, settings, model.name)
    scales = [round(looks.scale(found[target.label][0].level), 4) for target in targets]
    return _assemble(image, candidates, {**record(request, model, started), "scales": scales})


def slices(image: Image, inputs: PromptInputs) -> list[tuple[int, ...]]:
    """Return the slices that a run looks at.

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


def _target(label: int, prompt: Prompt, image: Image, window: int, settings: PromptSettings) -> _Target:
    """Choose the level at which a prompt is first looked at."""
    shape = image.plane_shape
    index, flat = prompt.in_plane(image.shape, image.label_axes)
    last = tiling.coarsest(shape, window)
    target = _Target(label, index, flat, last)
    if not settings.tile:
        return target
    level = min(0, last) if target.by_clicks else tiling.box_level(target.extent, last, window)
    return replace(target, level=_holding(target, level, shape, window))


class _Looks:
    """Looks at prompts of an image, from level to level until no further one is worth it."""

    def __init__(
        self,
        image: Image,
        settings: PromptSettings,
        model: Promptable,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> None:
        self._image = image
        self._settings = settings
        self._model = model
        self._progress = progress
        self._cancelled = cancelled
        self._shape = image.plane_shape
        self._coarsest = tiling.coarsest(self._shape, model.window)
        self._furthest = tiling.furthest(self._shape, model.window)
        self.quick = settings.tile and model.window <= tiling.QUICK

    def at(self, targets: Sequence[_Target]) -> dict[int, list[Look]]:
        """Return the looks at each prompt by its label, the one to take first."""
        found: dict[int, list[Look]] = {}
        looked = {(target.label, target.level) for target in targets}
        while targets:
            again: list[_Target] = []
            for (index, window, level), group in self._by_window(targets).items():
                if self._cancelled():
                    raise Cancelled("Prompting was cancelled.")
                for target, masks in zip(group, self._masks(index, window, level, group), strict=True):
                    look = self._look(target, masks, window)
                    looks = found.setdefault(target.label, [])
                    looks.insert(0 if not looks or look.is_better(looks[0]) else len(looks), look)
                    for further in self._further(target, look, looks[0] is look):
                        if (target.label, further) not in looked:
                            looked.add((target.label, further))
                            again.append(replace(target, level=further))
                self._progress(min(1.0, len(found) / len(targets)), "decoding prompts")
            targets = again
        return found

    def scale(self, level: int) -> float:
        """Return how many pixels of the model's window one of the image is at a level."""
        side = min(tiling.side(self._model.window, level), max(self._shape))
        return self._model.window / side / 2.0 ** max(0, level - self._coarsest)

    def _by_window(self, targets: Sequence[_Target]) -> dict[tuple[tuple[int, ...], Box, int], list[_Target]]:
        height, width = self._shape
        groups: dict[tuple[tuple[int, ...], Box, int], list[_Target]] = defaultdict(list)
        for target in targets:
            box = tiling.surrounding(target.extent, self._shape, tiling.side(self._model.window, target.level))
            groups[target.index, box or (0, 0, height - 1, width - 1), target.level].append(target)
        return groups

    def _masks(self, index: tuple[int, ...], window: Box, level: int, targets: Sequence[_Target]) -> list[list[Mask]]:
        rgb = self._image.rgb(index, window)
        if level <= self._coarsest:
            return _decode(rgb, window, targets, self._settings, self._model)
        shrunk = Shrunk(rgb, self._model.window, level - self._coarsest)
        return _decode(shrunk.rgb, window, targets, self._settings, self._model, shrunk)

    def _look(self, target: _Target, masks: list[Mask], window: Box) -> Look:
        best = masks[0]
        fitting = tiling.box_level(best.box, self._furthest, self._model.window) if best.area else target.level
        cut = tiling.touches(best.box, window, self._shape)
        ends = (0, 0, self._shape[0] - 1, self._shape[1] - 1)
        sides = sum(a == b for a, b in zip(best.box, ends, strict=True))
        is_picture = target.level > self._coarsest and sides > MOST_SIDES
        return Look(target.level, masks, cut, fitting, disobeyed(best, target.prompt), is_picture)

    def _further(self, target: _Target, look: Look, taken: bool) -> list[int]:
        """Return the levels at which to look again at a prompt."""
        if not self._settings.tile or not (look.cut or target.by_clicks):
            return []
        levels = []
        last = self._furthest if target.by_clicks else self._coarsest
        if look.wants_wider(taken=taken, quick=self.quick):
            levels.append(min(target.level + 1, last))
        if self.quick and target.by_clicks and not look.cut and look.masks[0].area:
            clear = look.masks[0].predicted_iou >= CLEAR
            fitting = min(look.fitting, self._coarsest) if clear else look.fitting
            levels.append(_holding(target, fitting, self._shape, self._model.window))
        return levels


def _offered(looks: list[Look], several: bool) -> list[Mask]:
    """Return the masks of the look to take and, of several, another object that the prompt has shown."""
    masks = looks[0].masks
    others = [look.masks[0] for look in looks[1:] if not look.cut and look.masks[0].area]
    others = [o for o in others if o.predicted_iou >= DOUBT and all(iou(o, mask) < SAME for mask in masks)]
    if not several or not others or len(masks) >= _MOST:
        return masks
    return [*masks, max(others, key=lambda mask: mask.predicted_iou)]


def _holding(target: _Target, level: int, shape: tuple[int, int], window: int) -> int:
    """Return `level`, or the next at which one window holds all that the prompt shows."""
    last = tiling.coarsest(shape, window)
    while level < last and tiling.surrounding(target.extent, shape, tiling.side(window, level)) is None:
        level += 1
    return level


def _decode(
    rgb: NDArray[np.uint8],
    window: Box,
    targets: Sequence[_Target],
    settings: PromptSettings,
    model: Promptable,
    shrunk: Shrunk | None = None,
) -> list[list[Mask]]:
    """Decode the prompts of one window; each prompt's candidates come best first."""
    encoded = embedding(model, rgb)

    def decode(some: Sequence[_Target], *, multimask: bool, one_by_one: bool) -> list[Candidates]:
        prompts = [_moved(target.prompt, window) for target in some]
        if shrunk is not None:
            prompts = [shrunk.prompt(prompt) for prompt in prompts]
        found = model.decode(encoded, prompts, multimask=multimask, one_by_one=one_by_one)
        return found if shrunk is None else [shrunk.candidates(one) for one in found]

    out: dict[int, list[Mask]] = {}
    for multimask in (True, False):
        group = [target for target in targets if target.wants_several(settings.output) == multimask]
        decoded = decode(group, multimask=multimask, one_by_one=settings.tile)
        for target, found in zip(group, decoded, strict=True):
            out[target.label] = _ranked(found, window, target, obeys=settings.tile)
    wrong = [target for target in targets if settings.tile and _wants_others(target, out[target.label][0], settings)]
    others = decode(wrong, multimask=True, one_by_one=True)
    for target, found in zip(wrong, others, strict=True):
        candidates = out[target.label] + _ranked(found, window, target)
        order = sorted((disobeyed(m, target.prompt), -m.predicted_iou, i) for i, m in enumerate(candidates))
        out[target.label] = [candidates[i] for _, _, i in order]
    return [out[target.label] for target in targets]


def _wants_others(target: _Target, mask: Mask, settings: PromptSettings) -> bool:
    """Tell whether several clicks gave a single mask that disobeys one of them."""
    several = target.by_clicks and len(target.prompt.points) > 1
    return settings.output == "auto" and several and disobeyed(mask, target.prompt) > 0


def _ranked(found: Candidates, window: Box, target: _Target, obeys: bool = False) -> list[Mask]:
    """Return masks, the most trusted first; `obeys`: clicks that correct an outline move its threshold."""
    points = [(round(y) - window[0], round(x) - window[1]) for y, x in target.prompt.points]
    corrects = obeys and target.prompt.mask is not None and bool(points)

    def threshold(logits: NDArray[Any]) -> float:
        return click_threshold(logits, points, target.prompt.labels or ()) if corrects else 0.0

    return [
        Mask.from_array(
            found.logits[i] > threshold(found.logits[i]),
            window[:2],
            predicted_iou=float(found.predicted_iou[i]),
            stability_score=float(found.stability_score[i]),
            index=target.index,
            label=target.label,
        )
        for i in np.argsort(-found.predicted_iou, kind="stable")
    ]


def _moved(prompt: Prompt, window: Box) -> Prompt:
    """Return a prompt in the pixels of a window."""
    y, x, _, _ = window
    points = [(py - y, px - x) for py, px in prompt.points]
    box = None if prompt.box is None else [v - o for v, o in zip(prompt.box, (y, x, y, x), strict=True)]
    mask = None if prompt.mask is None else tiling.part(prompt.mask, window)
    return Prompt(points, prompt.labels, box, mask)


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
    # How long a click takes says nothing of the next.
    learns_time=False,
)

"""Looks at prompts: which window a model decodes for which prompt, from level to level.

`tasks.windows.looks` decides which further levels are worthwhile and which mask is taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.protocols.objects import Candidates, EmbeddingMaps, Promptable
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.click_threshold import click_threshold
from napari_foundseg.tasks.windows.clicked_instance import clicked_instance
from napari_foundseg.tasks.windows.embeddings import embedding
from napari_foundseg.tasks.windows.looks import Look, disobeyed, middle
from napari_foundseg.tasks.windows.shrunk import Shrunk

__all__ = ["Looking"]

#: Which of a model's masks to take, as in `PromptSettings`.
Output = Literal["auto", "best of three", "single"]


@dataclass(frozen=True, eq=False)
class _Target:
    """A prompt, its slice, and the level at which it is decoded."""

    label: int
    index: tuple[int, ...]
    prompt: Prompt
    level: int

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Least and largest row and column of the points, the box and the mask of the prompt."""
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
        """Whether the prompt has points only."""
        return _by_clicks(self.prompt)

    @property
    def starts_with_a_click(self) -> bool:
        """Whether the prompt has points only, the first of them on the object."""
        return self.by_clicks and (self.prompt.labels or (0,))[0] == 1


def _by_clicks(prompt: Prompt) -> bool:
    return prompt.box is None and prompt.mask is None


#: Most sides of the picture that the mask of an object may reach if the picture is shrunk below the window.
_MOST_SIDES = 2
#: A slice, a window in it, and the level.
_Place = tuple[tuple[int, ...], Box, int]


class Looking:
    """Decoder of the prompts of an image, from level to level until no further level is worthwhile.

    Parameters
    ----------
    image : Image
        The image.
    model : Promptable
        The model.
    poll : callable
        Called with the share done before each window is decoded; may raise to stop.
    tile : bool
        Whether objects are decoded in windows of several levels; otherwise in one that holds the whole slice.
    output : str
        Which of the model's masks to take.
    """

    def __init__(
        self, image: Image, model: Promptable, poll: Callable[[float], None], *, tile: bool, output: Output
    ) -> None:
        self._image = image
        self._model = model
        self._poll = poll
        self._tile = tile
        self._output = output
        self._shape = image.plane_shape
        self._coarsest = tiling.coarsest(self._shape, model.window)
        self._furthest = tiling.furthest(self._shape, model.window)
        self._quick = tile and model.window <= tiling.QUICK

    def at(self, prompts: Sequence[Prompt]) -> list[list[Look]]:
        """Return the looks at each prompt; the first is the one to take."""
        targets = [self._first(i, prompt) for i, prompt in enumerate(prompts, 1)]
        found = self._looks(self._at_level_of_first_click(targets))
        self._centre(targets, found)
        self._box_instances(targets, found)
        return [found[target.label] for target in targets]

    def wants_several(self, prompt: Prompt) -> bool:
        """Tell whether the model should propose several masks for a prompt."""
        one_click = len(prompt.points) == 1 and _by_clicks(prompt)
        return self._output == "best of three" or (self._output == "auto" and one_click)

    def scale(self, level: int) -> float:
        """Return the factor by which the image is resized for the model at a level."""
        return self._model.window / tiling.covered(self._shape, self._model.window, level)

    def _first(self, label: int, prompt: Prompt) -> _Target:
        """Return a prompt with its slice and the level at which to decode it first."""
        index, flat = prompt.in_plane(self._image.shape, self._image.label_axes)
        target = _Target(label, index, flat, self._coarsest)
        if not self._tile:
            return target
        if target.by_clicks:
            return self._holding(target, min(0, self._coarsest))
        return self._holding(target, tiling.box_level(target.extent, self._shape, self._model.window))

    def _at_level_of_first_click(self, targets: Sequence[_Target]) -> list[_Target]:
        """Return the targets, those of several clicks at the level of the first click: later ones do not change it."""
        several = [t for t in targets if self._quick and t.starts_with_a_click and len(t.prompt.points) > 1]
        found = self._looks([replace(t, prompt=Prompt(t.prompt.points[:1], [1])) for t in several])
        levels = {label: looks[0].level for label, looks in found.items()}
        return [self._holding(t, levels[t.label]) if t.label in levels else t for t in targets]

    def _looks(self, targets: Sequence[_Target]) -> dict[int, list[Look]]:
        """Return the looks at each target by label; the first is the one to take."""
        found: dict[int, list[Look]] = {}
        looked = {(target.label, target.level) for target in targets}
        count = len(targets)
        while targets:
            again: list[_Target] = []
            for place, group in self._by_window(targets).items():
                self._poll(len(found) / count)
                for target, look in zip(group, self._decoded(place, group), strict=True):
                    looks = found.setdefault(target.label, [])
                    looks.insert(0 if not looks or look.is_better(looks[0]) else len(looks), look)
                    for level in self._further(target, look, looks[0] is look):
                        if (target.label, level) not in looked:
                            looked.add((target.label, level))
                            again.append(replace(target, level=level))
            targets = again
        return found

    def _centre(self, targets: Sequence[_Target], found: Mapping[int, list[Look]]) -> None:
        """Decode masks of clicks again if they could be better, with a first click in the middle of the mask."""
        clicks = {target.label: target for target in targets}
        groups: dict[_Place, list[_Target]] = defaultdict(list)
        for target in targets:
            look = found[target.label][0]
            if self._quick and target.starts_with_a_click and look.wants_centre:
                several = len(target.prompt.points) > 1
                points = [middle(look.masks[0]), *(target.prompt.points if several else ())]
                labels = [1, *((target.prompt.labels or ()) if several else ())]
                moved = replace(target, prompt=Prompt(points, labels), level=look.level)
                groups[target.index, look.window, look.level].append(moved)
        for place, group in groups.items():
            self._poll(1)
            for target, look in zip(group, self._decoded(place, group), strict=True):
                looks = found[target.label]
                look = replace(look, disobeyed=disobeyed(look.masks[0], clicks[target.label].prompt))
                if look.is_as_whole(looks[0]) and look.masks[0].predicted_iou > looks[0].masks[0].predicted_iou:
                    looks[0] = look

    def _box_instances(self, targets: Sequence[_Target], found: Mapping[int, list[Look]]) -> None:
        """Decode clicks again in the box of the instance under them, if the model's decoder sees one."""
        if not self._quick or not isinstance(self._model, EmbeddingMaps):
            return
        boxed = []
        for target in targets:
            if target.starts_with_a_click:
                levels = {min(0, self._coarsest), *(look.level for look in found[target.label])}
                windows = [self._window_of(replace(target, level=n)) for n in sorted(levels) if n <= self._coarsest]
                box = clicked_instance(self._image, target.index, windows, target.prompt, self._model)
                if box is not None:
                    several = len(target.prompt.points) > 1
                    prompt = replace(target.prompt, box=box) if several else Prompt(box=box)
                    level = tiling.box_level(box, self._shape, self._model.window)
                    boxed.append(self._holding(replace(target, prompt=prompt), level))
        clicks = {target.label: target.prompt for target in targets}
        for place, group in self._by_window(boxed).items():
            self._poll(1)
            for target, look in zip(group, self._decoded(place, group), strict=True):
                looks = found[target.label]
                look = replace(look, disobeyed=disobeyed(look.masks[0], clicks[target.label]))
                if look.is_of_instance(looks[0]):
                    offered = self.wants_several(clicks[target.label])
                    looks.insert(0, look.with_others(looks[0]) if offered else look)

    def _further(self, target: _Target, look: Look, taken: bool) -> list[int]:
        """Return the levels at which to decode a prompt again."""
        if not self._tile or not (look.cut or target.by_clicks):
            return []
        levels = []
        if look.wants_wider(taken=taken, quick=self._quick):
            levels.append(min(target.level + 1, self._furthest if target.by_clicks else self._coarsest))
        if self._quick and target.by_clicks and not look.cut and look.masks[0].area:
            fitting = min(look.fitting, self._coarsest) if look.is_clear else look.fitting
            levels.append(self._holding(target, fitting).level)
        return levels

    def _holding(self, target: _Target, level: int) -> _Target:
        """Return the target at `level`, or at the next level at which one window holds the whole prompt."""
        window = self._model.window
        while level < self._coarsest and self._window(target.extent, tiling.side(window, level)) is None:
            level += 1
        return replace(target, level=level)

    def _window(self, extent: tuple[float, float, float, float], side: int) -> Box | None:
        return tiling.surrounding(extent, self._shape, side)

    def _window_of(self, target: _Target) -> Box:
        """Return the window of a target at its level; the whole slice if no smaller one holds the prompt."""
        box = self._window(target.extent, tiling.side(self._model.window, target.level))
        return box or (0, 0, self._shape[0] - 1, self._shape[1] - 1)

    def _by_window(self, targets: Sequence[_Target]) -> dict[_Place, list[_Target]]:
        groups: dict[_Place, list[_Target]] = defaultdict(list)
        for target in targets:
            groups[target.index, self._window_of(target), target.level].append(target)
        return groups

    def _decoded(self, place: _Place, targets: Sequence[_Target]) -> list[Look]:
        """Decode the prompts of one window."""
        index, window, level = place
        rgb = self._image.rgb(index, window)
        shrunk = None
        if level > self._coarsest:
            shrunk = Shrunk(rgb, self._model.window, level - self._coarsest)
            rgb = shrunk.rgb
        encoded = embedding(self._model, rgb)

        def decode(some: Sequence[_Target], *, multimask: bool, one_by_one: bool) -> list[Candidates]:
            prompts = [_moved(target.prompt, window) for target in some]
            if shrunk is not None:
                prompts = [shrunk.prompt(prompt) for prompt in prompts]
            found = self._model.decode(encoded, prompts, multimask=multimask, one_by_one=one_by_one)
            return found if shrunk is None else [shrunk.candidates(one) for one in found]

        out: dict[int, list[Mask]] = {}
        for multimask in (True, False):
            group = [target for target in targets if self.wants_several(target.prompt) == multimask]
            decoded = decode(group, multimask=multimask, one_by_one=self._tile)
            for target, found in zip(group, decoded, strict=True):
                out[target.label] = _ranked(found, window, target, obeys=self._tile)
        wrong = [target for target in targets if self._wants_others(target, out[target.label][0])]
        others = decode(wrong, multimask=True, one_by_one=True)
        for target, found in zip(wrong, others, strict=True):
            candidates = out[target.label] + _ranked(found, window, target)
            order = sorted((disobeyed(m, target.prompt), -m.predicted_iou, i) for i, m in enumerate(candidates))
            out[target.label] = [candidates[i] for _, _, i in order]
        return [self._look(target, out[target.label], window) for target in targets]

    def _look(self, target: _Target, masks: list[Mask], window: Box) -> Look:
        best = masks[0]
        fitting = target.level
        if best.area:
            fitting = tiling.box_level(best.box, self._shape, self._model.window, beyond=True)
        sides = sum(a == b for a, b in zip(best.box, (0, 0, *(n - 1 for n in self._shape)), strict=True))
        return Look(
            target.level,
            window,
            masks,
            cut=tiling.touches(best.box, window, self._shape),
            fitting=fitting,
            disobeyed=disobeyed(best, target.prompt),
            # Beyond the coarsest level the picture itself looks like an object in the window.
            is_picture=target.level > self._coarsest and sides > _MOST_SIDES,
        )

    def _wants_others(self, target: _Target, mask: Mask) -> bool:
        """Tell whether several clicks gave a single mask that disobeys one of them, so that other masks are needed."""
        several = target.by_clicks and len(target.prompt.points) > 1
        return self._tile and self._output == "auto" and several and disobeyed(mask, target.prompt) > 0


def _ranked(found: Candidates, window: Box, target: _Target, obeys: bool = False) -> list[Mask]:
    """Return the candidates as masks, best first; if `obeys`, clicks that correct an outline move its threshold."""
    points = [(round(y) - window[0], round(x) - window[1]) for y, x in target.prompt.points]
    outline = target.prompt.mask if obeys and points else None

    def threshold(logits: NDArray[Any]) -> float:
        if outline is None:
            return 0.0
        return click_threshold(logits, points, target.prompt.labels or (), tiling.part(outline, window))

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
    """Return a prompt in pixels of a window."""
    y, x, _, _ = window
    points = [(py - y, px - x) for py, px in prompt.points]
    box = None if prompt.box is None else [v - o for v, o in zip(prompt.box, (y, x, y, x), strict=True)]
    mask = None if prompt.mask is None else tiling.part(prompt.mask, window)
    return Prompt(points, prompt.labels, box, mask)

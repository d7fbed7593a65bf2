"""Projection: the mask of a slice becomes the prompt of the next, for models that only take prompts.

The box of the mask before is decoded in the next slice. The mask before then corrects the answer of the model: the new
mask may only grow by a margin, and parts that do not touch the mask before are dropped. Holes are followed as separate
objects and cut out, because a box cannot describe holes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.protocols.objects import Candidates, Promptable
from napari_foundseg.tasks.frames.found import Expected, Found
from napari_foundseg.tasks.frames.sharing import in_window, looks_like, share_pixels
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.embeddings import embedding

__all__ = ["Projection"]

#: Share of its radius by which an object may grow from slice to slice, and the least number of pixels.
_GROWTH = 0.3
_LEAST_GROWTH = 3
#: Holes of fewer pixels than this, or than this share of the mask, are left to the model.
_LEAST_HOLE = 16
_HOLE = 0.02
#: Holes of a mask that are followed, the largest.
_HOLES = 4
#: IoU with the hole before from which on a decoded hole is taken for it.
_SAME_HOLE = 0.5
#: Share of the largest part of a mask below which another part is a speck.
_SPECK = 0.02
#: A mask is doubted whose IoU with the one before is lower, and whose predicted IoU is lower by this factor.
_ALIKE = 0.65
_LESS = 0.9
#: Predicted IoU that a mask may have at most in that comparison: what the user has drawn has 1.
_USUAL = 0.93
#: What the logit loses where another object was.
_OTHERS = 4.0
#: Pixels by which the box of the mask before is enlarged, and within which of that the object's own box lies.
_MARGIN = 1
_REACH = 3
#: How often a mask is decoded again by its own box, unless that is the same.
_OWN_BOXES = 3
#: Pixels by which an own box is smaller on each side, and their largest share of a side: a mask is a little larger than
#: the object, and so would its box.
_TIGHT = 1.0
_TIGHT_SHARE = 1 / 16


@dataclass(frozen=True, eq=False)
class _Shape:
    """An outline, or a hole, that is decoded by its box."""

    owner: int
    is_hole: bool
    box: Box


@dataclass(frozen=True, eq=False)
class _Decoded:
    """Result of decoding a shape in a window."""

    shape: _Shape
    window: Box
    logits: NDArray[np.float32]
    score: float


class Projection:
    """Projection of masks of one slice onto another.

    Parameters
    ----------
    image : Image
        The image.
    model : Promptable
        The model.
    poll : callable
        Called before each window is encoded; may raise to stop.
    """

    def __init__(self, image: Image, model: Promptable, poll: Callable[[], None]) -> None:
        self._image = image
        self._model = model
        self._poll = poll
        self._shape = image.plane_shape
        self._is_quick = model.window <= tiling.QUICK

    def onto(self, index: tuple[int, ...], expected: Sequence[Expected], others: Sequence[Mask] = ()) -> list[Found]:
        """Return the objects in a slice, with empty masks for objects of which nothing is left.

        `others` are masks of further objects, in this slice or nearby, whose pixels are less probable.
        """
        before = [one.mask for one in expected]
        shapes = [shape for i, mask in enumerate(before) if self._is_inside(mask) for shape in _shapes_of(i, mask)]
        decoded: dict[int, list[_Decoded]] = defaultdict(list)
        pictures: dict[int, tuple[Box, NDArray[np.float32]]] = {}
        for window, group in self._by_window(shapes).items():
            self._poll()
            rgb = self._image.rgb(index, window)
            encoded = self._model.encode(rgb) if self._is_quick else embedding(self._model, rgb)
            prompts = [_prompt_of(shape, window, self._shape) for shape in group]
            found = self._model.decode(encoded, prompts, multimask=False)
            # The box of the mask before is too large if an object narrows: the object's own box outlines it better.
            for _ in range(_OWN_BOXES):
                own = [_of_own_box(one, prompt) for one, prompt in zip(found, prompts, strict=True)]
                changed = [i for i, (a, b) in enumerate(zip(own, prompts, strict=True)) if a.box != b.box]
                if not changed:
                    break
                again = self._model.decode(encoded, [own[i] for i in changed], multimask=False)
                for i, one in zip(changed, again, strict=True):
                    found[i] = one
                prompts = own
            grey = rgb.mean(2, dtype=np.float32)
            for shape, one, prompt in zip(group, found, prompts, strict=True):
                best = _best(one)
                prior = in_window(before[shape.owner], window)
                if not shape.is_hole and _is_doubtful(best, prior, before[shape.owner]):
                    several = self._model.decode(encoded, [prompt], multimask=True)[0]
                    best = _most_alike([best, *zip(several.logits, several.predicted_iou.tolist(), strict=True)], prior)
                decoded[shape.owner].append(_Decoded(shape, window, *best))
                if not shape.is_hole:
                    pictures[shape.owner] = window, grey
        return [
            self._combined(index, one, [*before[:i], *before[i + 1 :], *others], decoded[i], *pictures[i])
            if i in pictures
            else Found.nothing(index)
            for i, one in enumerate(expected)
        ]

    def _is_inside(self, mask: Mask) -> bool:
        """Tell whether a mask, which may have been moved, overlaps the picture."""
        y0, x0, y1, x1 = mask.box
        return bool(mask.area) and y1 >= 0 and x1 >= 0 and y0 < self._shape[0] and x0 < self._shape[1]

    def _by_window(self, shapes: Sequence[_Shape]) -> dict[Box, list[_Shape]]:
        whole = (0, 0, self._shape[0] - 1, self._shape[1] - 1)
        groups: dict[Box, list[_Shape]] = defaultdict(list)
        last = tiling.coarsest(self._shape, self._model.window)
        for shape in shapes:
            box = _enlarged(shape.box, _MARGIN, self._shape)
            level = tiling.box_level(box, self._shape, self._model.window)
            window = tiling.surrounding(box, self._shape, tiling.side(self._model.window, level))
            while window is None and level < last:
                level += 1
                window = tiling.surrounding(box, self._shape, tiling.side(self._model.window, level))
            groups[window or whole].append(shape)
        return groups

    def _combined(
        self,
        index: tuple[int, ...],
        expected: Expected,
        others: Sequence[Mask],
        decoded: Sequence[_Decoded],
        window: Box,
        grey: NDArray[np.float32],
    ) -> Found:
        """Return one mask from the decoded outline and the decoded holes."""
        before = expected.mask
        outline = next(one for one in decoded if not one.shape.is_hole)
        score = outline.score
        # In the outline's window, which holds the whole mask before; holes may have been decoded in other windows.
        prior = in_window(before, window)
        bright = looks_like(expected.grey, grey)
        logits = outline.logits.copy()
        solid = ndimage.binary_fill_holes(prior)
        reach = max(_LEAST_GROWTH, round(_GROWTH * float(np.sqrt(solid.sum() / np.pi))))
        allowed = ndimage.distance_transform_edt(~solid) <= reach
        logits[~allowed] = np.minimum(logits[~allowed], -1.0)
        rivals = [in_window(other, window) for other in others]
        for rival in rivals:
            logits[rival & ~prior] -= _OTHERS
        # Where nothing separates touching objects, the model is too careful in each slice, so that masks would shrink.
        inner = bright & ndimage.binary_erosion(prior)
        logits[inner] = np.maximum(logits[inner], 1.0)
        logits = share_pixels(logits, prior, rivals, grey, bright)
        for one in decoded:
            if one.shape.is_hole:
                hole = _hole_seen(one, before, window, grey, prior)
                if hole is not None:
                    logits[hole] = np.minimum(logits[hole], -1.0)
        mask = _touching(logits > 0, prior)
        if _is_doubtful((np.where(mask, 1.0, -1.0), score), prior, before):
            mask = _touching(prior & bright, prior)
            logits = np.where(mask, 1.0, -1.0).astype(np.float32)
        return Found.measured(index, mask, logits, window, score, grey, prior)


def _shapes_of(owner: int, mask: Mask) -> list[_Shape]:
    """Return the outline of a mask and its larger holes."""
    shapes = [_Shape(owner, False, mask.box)]
    holes, count = ndimage.label(ndimage.binary_fill_holes(mask.crop) & ~mask.crop)
    if count:
        sizes = np.bincount(holes.ravel())[1:]
        least = max(_LEAST_HOLE, _HOLE * mask.area)
        boxes = ndimage.find_objects(holes)
        y, x = mask.box[:2]
        for i in np.argsort(-sizes)[:_HOLES]:
            if sizes[i] >= least:
                rows, columns = boxes[i]
                box = (rows.start + y, columns.start + x, rows.stop - 1 + y, columns.stop - 1 + x)
                shapes.append(_Shape(owner, True, box))
    return shapes


def _prompt_of(shape: _Shape, window: Box, plane: tuple[int, int]) -> Prompt:
    y0, x0, y1, x1 = _enlarged(shape.box, _MARGIN, plane)
    return Prompt(box=(y0 - window[0], x0 - window[1], y1 - window[0], x1 - window[1]))


def _of_own_box(found: Candidates, prompt: Prompt) -> Prompt:
    """Return the box of a mask as a prompt, within some pixels of the prompt that gave the mask."""
    logits, _ = _best(found)
    assert prompt.box is not None
    y0, x0, y1, x1 = _enlarged(tuple(round(v) for v in prompt.box), _REACH, logits.shape)  # type: ignore[arg-type]
    mask = Mask.from_array(logits[y0 : y1 + 1, x0 : x1 + 1] > 0, (y0, x0))
    if not mask.area:
        return prompt
    y0, x0, y1, x1 = mask.box
    dy = min(_TIGHT, _TIGHT_SHARE * (y1 - y0))
    dx = min(_TIGHT, _TIGHT_SHARE * (x1 - x0))
    return Prompt(box=(y0 + dy, x0 + dx, y1 - dy, x1 - dx))


def _enlarged(box: Box, by: int, plane: tuple[int, int]) -> Box:
    y0, x0, y1, x1 = box
    return max(0, y0 - by), max(0, x0 - by), min(plane[0] - 1, y1 + by), min(plane[1] - 1, x1 + by)


def _best(found: Candidates) -> tuple[NDArray[np.float32], float]:
    best = int(found.predicted_iou.argmax())
    return found.logits[best], float(found.predicted_iou[best])


def _is_doubtful(best: tuple[NDArray[Any], float], prior: NDArray[np.bool_], before: Mask) -> bool:
    """Tell whether a mask is unlike the one before and less trusted; at an end, objects narrow but stay as clear."""
    logits, score = best
    return score < _LESS * min(before.predicted_iou, _USUAL) and _alike(logits > 0, prior) < _ALIKE


def _most_alike(
    candidates: Sequence[tuple[NDArray[np.float32], float]], prior: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], float]:
    return max(candidates, key=lambda one: _alike(one[0] > 0, prior))


def _alike(mask: NDArray[np.bool_], prior: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(mask & prior) / max(1, int(np.count_nonzero(mask | prior))))


def _hole_seen(
    decoded: _Decoded,
    before: Mask,
    window: Box,
    grey: NDArray[np.float32],
    prior: NDArray[np.bool_],
) -> NDArray[np.bool_] | None:
    """Return a hole in the outline's window: as decoded, or as before if it still differs from the wall, or None."""
    solid = ndimage.binary_fill_holes(before.crop) & ~before.crop
    y, x = before.box[:2]
    old = np.zeros_like(solid)
    box = decoded.shape.box
    part = slice(box[0] - y, box[2] - y + 1), slice(box[1] - x, box[3] - x + 1)
    old[part] = solid[part]
    was = in_window(Mask.from_array(old, (y, x)), window)
    filled = Mask.from_array(ndimage.binary_fill_holes(decoded.logits > 0), decoded.window[:2])
    now = in_window(filled, window)
    if np.count_nonzero(was & now) >= _SAME_HOLE * np.count_nonzero(was | now):
        return now
    inside = grey[was]
    wall = grey[prior]
    noise = np.sqrt((inside.var() + wall.var()) / 2) + 1e-3
    return was if abs(float(inside.mean() - wall.mean())) > noise else None


def _touching(mask: NDArray[np.bool_], prior: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the parts of a mask that overlap the mask before, without specks."""
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        return mask
    sizes = np.bincount(parts.ravel())
    kept = np.unique(parts[prior & mask])
    kept = kept[(kept > 0) & (sizes[kept] >= _SPECK * sizes[1:].max())]
    return np.asarray(np.isin(parts, kept))

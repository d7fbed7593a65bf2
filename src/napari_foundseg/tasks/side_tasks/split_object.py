"""One object divided between clicks, by its outline, the image and the evidence of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from napari_foundseg.core.editing import split_edits
from napari_foundseg.core.editing.difference import SliceBox
from napari_foundseg.core.editing.splitting import Evidence
from napari_foundseg.core.errors import AxesError, Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import label_dtype, plane_view
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.painting import Painting
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.protocols.objects import Promptable
from napari_foundseg.tasks.label_image import LabelImage
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Inputs, Progress, Settings, Task, ignore_progress
from napari_foundseg.tasks.windows.split_evidence import brightness, split_evidence

__all__ = ["TASK", "SplitInputs", "SplitSettings", "inputs_of", "parts_of", "split_labels"]


class SplitInputs(Inputs):
    """The object to split, and the clicks."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    mask: LabelImage
    """The object in a box of the label image: 1 inside it, with a margin of one background pixel except at the image's
    edges."""
    origin: tuple[int, ...]
    """First pixel of the box in the label image."""
    clicks: tuple[tuple[int, ...], ...] = Field(min_length=2)
    """Pixels of the label image, one in each part."""
    spacing: tuple[float | None, ...]
    """Size of a pixel along each axis; None along time."""

    @property
    def box(self) -> SliceBox:
        """The object's box in the label image."""
        return tuple(slice(o, o + n) for o, n in zip(self.origin, self.mask.shape, strict=True))

    def extent(self, image: Image) -> tuple[int, int]:  # noqa: ARG002 - the object alone is looked at
        """Return the number of slices of the object's box and the number of pixels in each."""
        return int(np.prod(self.mask.shape[:-2])), int(np.prod(self.mask.shape[-2:]))


class SplitSettings(Settings):
    """Outline, image and model."""

    method: Literal["clicks"] = "clicks"


def inputs_of(
    labels: NDArray[Any], label: int, points: Sequence[Sequence[float]], spacing: Sequence[float | None]
) -> SplitInputs:
    """Return the inputs for an object of a label image, cropped to its box; PromptError if a point is not on it."""
    clicks = split_edits.clicked_pixels(labels, label, points)
    box = split_edits.object_box(labels, label, spacing)
    return SplitInputs(
        mask=(labels[box] == label).astype(np.uint8),
        origin=tuple(part.start for part in box),
        clicks=tuple(clicks),
        spacing=tuple(spacing),
    )


def parts_of(result: Segmentation, inputs: SplitInputs, axes: str) -> NDArray[np.uint16]:
    """Return the parts of a run in the object's box, numbered like the clicks."""
    parts = np.zeros(inputs.mask.shape, np.uint16)
    y = inputs.origin[axes.index("Y")]
    x = inputs.origin[axes.index("X")]
    others = [o for o, axis in zip(inputs.origin, axes, strict=True) if axis not in "YX"]
    for mask in result.masks or ():
        place = tuple(k - o for k, o in zip(mask.index, others, strict=True))
        y0, x0, y1, x1 = mask.box
        plane_view(parts, axes, place)[y0 - y : y1 - y + 1, x0 - x : x1 - x + 1][mask.crop] = mask.label
    return parts


def run(
    image: Image,
    inputs: SplitInputs,
    settings: SplitSettings,
    model: Promptable,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Divide the object.

    `masks` of the result are the parts in each slice, and `label` is the number of the part.
    ``provenance["evidence"]`` lists the evidence of the model, such as ``["borders", "scores"]``.
    """
    started = time.perf_counter()

    def poll() -> None:
        if cancelled():
            raise Cancelled("Splitting was cancelled.")

    if inputs.mask.ndim != len(image.shape) or any(
        part.stop > n for part, n in zip(inputs.box, image.shape, strict=True)
    ):
        raise AxesError(f"The object's box {inputs.box} is not inside the image of shape {image.shape}.")
    seen: list[str] = []

    def look(box: SliceBox) -> Evidence | None:
        corner = [o + part.start for o, part in zip(inputs.origin, box, strict=True)]
        clicks = [tuple(c - o for c, o in zip(click, corner, strict=True)) for click in inputs.clicks]
        found = split_evidence(
            image, inputs.mask[box] > 0, corner, clicks, model, poll, lambda s: progress(s, "looking at the object")
        )
        if found is not None:
            seen.extend(name for name in ("borders", "scores") if getattr(found, name) is not None)
        return found

    def bright(box: SliceBox) -> NDArray[Any]:
        corner = [o + part.start for o, part in zip(inputs.origin, box, strict=True)]
        return brightness(image, corner, [part.stop - part.start for part in box])

    own = (inputs.mask > 0).astype(np.uint16)
    points = [tuple(c - o for c, o in zip(click, inputs.origin, strict=True)) for click in inputs.clicks]
    for box, values in split_edits.split(own, 1, points, inputs.spacing, 2, bright, look):
        own[box] = values
    masks = _masks(own, image.label_axes, inputs.origin)
    painting = Painting(image.shape, image.label_axes, masks)
    told = record(RunRequest("split", image, inputs, settings, model.name), model, started)
    return Segmentation(painting, painting.table(), provenance={**told, "evidence": seen}, masks=masks)


def split_labels(
    image: Image, labels: NDArray[Any], label: int, points: Sequence[Sequence[float]], model: Any
) -> Segmentation:
    """Split an object of a label image in this process; see `napari_foundseg.split`."""
    if labels.shape != image.shape:
        raise AxesError(
            f"The labels have the shape {labels.shape}, the image {image.shape} (without channels): choose labels of "
            "this image."
        )
    spacing = [None if axis in "TQ" else float(image.spacing.get(axis, 1.0)) for axis in image.label_axes]
    inputs = inputs_of(labels, label, points, spacing)
    found = TASK.run(image, inputs, SplitSettings(), model, ignore_progress)
    free = int(labels.max()) + 1
    parts = parts_of(found, inputs, image.label_axes)
    out = labels.astype(label_dtype(free + len(inputs.clicks)))
    for box, values in split_edits.split_as(labels, label, inputs.box, parts, free):
        out[box] = values
    ids, numbers = np.unique(out, return_inverse=True)
    dense = numbers.reshape(out.shape) + (ids[0] != 0)
    ids = ids[ids > 0]
    unknown = np.full(len(ids), np.nan)
    table = object_table(dense, image.label_axes, predicted_iou=unknown, stability_score=unknown)
    return Segmentation(out, table.assign(label=ids.astype(np.int64)), provenance={**found.provenance, "split": label})


def _masks(parts: NDArray[Any], axes: str, origin: Sequence[int]) -> tuple[Mask, ...]:
    """Return the mask of each part in each slice."""
    others = [i for i, axis in enumerate(axes) if axis not in "YX"]
    corner = (origin[axes.index("Y")], origin[axes.index("X")])
    masks = []
    for place in product(*(range(parts.shape[i]) for i in others)):
        plane = plane_view(parts, axes, place)
        index = tuple(k + origin[i] for k, i in zip(place, others, strict=True))
        numbers = np.unique(plane[plane > 0]).tolist()
        masks += [Mask.from_array(plane == n, corner, index=index, label=n) for n in numbers]
    return tuple(masks)


def _slices(image: Image, inputs: SplitInputs) -> list[tuple[int, ...]]:
    """Return the slices of the object's box."""
    return list(
        product(
            *(range(p.start, p.stop) for p, axis in zip(inputs.box, image.label_axes, strict=True) if axis not in "YX")
        )
    )


TASK = Task(
    name="split",
    title="Split",
    inputs=SplitInputs,
    methods={"clicks": SplitSettings},
    protocols={"clicks": "Promptable"},
    function=run,
    slices=_slices,
    learns_time=False,
    finds_objects=False,
)

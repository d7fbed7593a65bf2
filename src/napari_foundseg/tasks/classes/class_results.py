"""Results with classes: slices in windows, ids that continue from slice to slice, and one class table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.classes.linking import link_objects
from napari_foundseg.core.classes.panoptic import Panoptic, panoptic_ids
from napari_foundseg.core.classes.stitching import Window, stitched
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import label_dtype, plane_view
from napari_foundseg.core.object_table import named_classes, object_table, table_of
from napari_foundseg.core.result import Segmentation
from napari_foundseg.tasks.regions import Region, region_of, slices
from napari_foundseg.tasks.settings import Poll, Progress
from napari_foundseg.tasks.stack_settings import StackSettings, link_record, slice_distance
from napari_foundseg.tasks.tracks.tracked import tracked
from napari_foundseg.tasks.windows import tiling

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Output", "assembled", "assembled_in", "each_slice", "in_windows", "of_classes", "with_output"]

#: Kinds of labels that a result can have.
Output = Literal["objects", "classes", "panoptic ids"]


def each_slice(
    image: Image, inputs: Region, progress: Progress, words: str
) -> Iterator[tuple[tuple[int, ...], Callable[[float], None]]]:
    """Iterate over the slices of a run.

    Parameters
    ----------
    image : Image
        The image.
    inputs : Region
        Slice and region of the run.
    progress : callable
        Progress function of the task.
    words : str
        Description of the step, shown if there is only one slice.

    Yields
    ------
    index : tuple of int
        The slice.
    share : callable
        Function to call with the share of the slice that is done.
    """
    planes = slices(image, inputs)
    for done, index in enumerate(planes):

        def share(part: float, done: int = done) -> None:
            text = f"slice {done + 1} of {len(planes)}" if len(planes) > 1 else words
            progress((done + part) / len(planes), text)

        yield index, share


def in_windows(
    image: Image,
    index: tuple[int, ...],
    region: tuple[int, int, int, int],
    predict: Callable[[NDArray[np.uint8]], Panoptic],
    poll: Poll,
    share: Callable[[float], None],
    *,
    side: int | None,
) -> Panoptic:
    """Run a model on a region in overlapping windows and merge the seams.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    region : tuple of int
        (y0, x0, y1, x1), both included.
    predict : callable
        Takes a picture and returns its panoptic result.
    poll : callable
        Called before each window; may raise to stop.
    share : callable
        Called with the share done.
    side : int or None
        Largest side of a window; None passes the whole region to the model.

    Returns
    -------
    Panoptic
        Result for the region.
    """
    shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
    side = max(shape) if side is None else side
    found = []
    windows = list(tiling.cover(shape, (min(side, shape[0]), min(side, shape[1])), side // 4))
    for i, (box, core) in enumerate(windows):
        poll()
        found.append(Window(box, core, predict(image.rgb(index, tiling.shifted(box, region[:2])))))
        share((i + 1) / len(windows))
    return stitched(found, shape)


def of_classes(semantic: NDArray[Any]) -> Panoptic:
    """Return the class of each pixel, (M, N), as a panoptic result without things."""
    return Panoptic(np.zeros(semantic.shape, np.uint16), semantic, np.empty(0, np.int64), np.empty(0))


def assembled(
    image: Image,
    inputs: Region,
    found: Mapping[tuple[int, ...], Panoptic],
    classes: ClassTable,
    provenance: dict[str, Any],
    *,
    output: Output = "objects",
    stack: StackSettings | None = None,
    divisor: int = 1000,
    maps: dict[tuple[int, ...], NDArray[Any]] | None = None,
) -> Segmentation:
    """Make one result from the regions of all slices, with `semantic`, classes and class names in the table."""
    return assembled_in(
        image.shape, image.label_axes, region_of(image, inputs), found, classes, provenance,
        output=output, stack=stack, divisor=divisor, maps=maps,
    )  # fmt: skip


def assembled_in(
    shape: tuple[int, ...],
    axes: str,
    region: tuple[int, int, int, int],
    found: Mapping[tuple[int, ...], Panoptic],
    classes: ClassTable,
    provenance: dict[str, Any],
    *,
    output: Output = "objects",
    stack: StackSettings | None = None,
    divisor: int = 1000,
    maps: dict[tuple[int, ...], NDArray[Any]] | None = None,
) -> Segmentation:
    """Make one result from the regions of all slices, for a label image of `shape` and `axes`.

    `region` is (y0, x0, y1, x1), both included. The result keeps `maps`, from which it can be made again.
    """
    count = sum(len(part.classes) for part in found.values())
    labels = np.zeros(shape, label_dtype(count))
    semantic = np.zeros(shape, np.promote_types(np.uint8, np.min_scalar_type(max([0, *classes.ids]))))
    class_of = [np.empty(0, np.int64)]
    scores = [np.empty(0)]
    first = 0
    for index, part in found.items():
        target = tiling.part(plane_view(labels, axes, index), region)
        np.add(part.labels, first, out=target, where=part.labels > 0, dtype=labels.dtype, casting="unsafe")
        tiling.part(plane_view(semantic, axes, index), region)[:] = part.semantic
        class_of.append(part.classes)
        scores.append(part.scores)
        first += len(part.classes)
    class_ids = np.concatenate(class_of)
    score = np.concatenate(scores)
    slice_axes = [axis for axis in axes if axis not in "YX"]
    # Classes alone have nothing to link.
    things = stack is not None and (count or output != "classes")
    linked = stack.body_axes(axes) if stack is not None and things else ""
    if linked and stack is not None:
        labels, class_ids, score = link_objects(
            labels,
            axes,
            linked,
            class_ids,
            score,
            rule=stack.link_rule,
            distance=slice_distance(provenance.get("image", {}).get("spacing", {}), linked),
        )
    if linked or any(part.boxes is None for part in found.values()):
        table = object_table(labels, axes, predicted_iou=score, stability_score=np.ones_like(score), classes=class_ids)
    else:
        table = _measured_table(found, region, slice_axes, class_ids, score)
    measured = classes.measured(semantic, class_ids)
    record = link_record(stack, linked, why="the model gives no depths") if stack is not None else {}
    all_linked = stack.linked_axes(axes) if stack is not None and things else ""
    kept = {name: value for name, value in provenance.items() if name != "tracking"}
    told = {**kept, "classes": measured.to_json(), "linked": all_linked, **record}
    result = Segmentation(labels, named_classes(table, measured), measured, told, maps=maps, semantic=semantic)
    if stack is not None and things:
        result = tracked(result, axes, provenance.get("image", {}).get("spacing", {}), stack)
    return with_output(result, axes, output, divisor)


def with_output(result: Segmentation, axes: str, output: Output, divisor: int = 1000) -> Segmentation:
    """Convert the labels of a result from objects to another kind.

    Parameters
    ----------
    result : Segmentation
        Result with `semantic`.
    axes : str
        Axes of its labels.
    output : {'objects', 'classes', 'panoptic ids'}
        Kind of labels to return.
    divisor : int
        Divisor of panoptic ids.

    Returns
    -------
    Segmentation
        Result whose table has a row for each label.
    """
    if output == "objects":
        return result
    semantic = result.semantic
    assert semantic is not None
    numbers: NDArray[Any] = semantic.astype(np.uint16)
    if output == "panoptic ids":
        numbers = panoptic_ids(semantic, result.labels, divisor=divisor)
    ids = np.unique(numbers[numbers > 0])
    of_ids = ids.astype(np.int64) // (1 if output == "classes" else divisor)
    counted = np.searchsorted(ids, numbers).astype(label_dtype(len(ids))) + (numbers > 0)
    ones = np.ones(len(ids))
    table = object_table(counted, axes, predicted_iou=ones, stability_score=ones, classes=of_ids)
    table["label"] = ids.astype(np.int64)
    return replace(result, pixels=numbers, table=named_classes(table, result.classes))


def _measured_table(
    found: Mapping[tuple[int, ...], Panoptic],
    region: tuple[int, int, int, int],
    slice_axes: list[str],
    classes: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> pd.DataFrame:
    """Return the object table from boxes and areas that are already measured."""
    offset = np.array([region[0], region[1], region[0], region[1]])
    boxes = np.concatenate(
        [np.empty((0, 4), np.int64), *(p.boxes + offset for p in found.values() if p.boxes is not None)]
    )
    areas = np.concatenate([np.empty(0, np.int64), *(p.areas for p in found.values() if p.areas is not None)])
    where = {
        axis: np.repeat([index[k] for index in found], [len(p.classes) for p in found.values()]).tolist()
        for k, axis in enumerate(slice_axes)
    }
    ones = np.ones_like(scores)
    return table_of(areas, boxes, where, predicted_iou=scores, stability_score=ones, classes=classes)

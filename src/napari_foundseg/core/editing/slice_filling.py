"""Fill the slices between those in which an object is painted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import SliceBox
from napari_foundseg.core.editing.edit_progress import EditProgress
from napari_foundseg.core.editing.edits import Pieces, Spacing
from napari_foundseg.core.editing.object_boxes import box_around
from napari_foundseg.core.editing.shape_blending import blended_shapes
from napari_foundseg.core.errors import PromptError

__all__ = ["FilledSlices", "axis_with_gaps", "fill_between_slices", "slices_text"]


@dataclass
class FilledSlices:
    """The result of `fill_between_slices`.

    Attributes
    ----------
    pieces : list of (tuple of slice, ndarray)
        The pieces to write.
    slices : dict of int to list of int
        The slices in which each object gains pixels.
    spared : int
        Number of pixels that were not filled because they belong to other objects.
    """

    pieces: Pieces = field(default_factory=list)
    slices: dict[int, list[int]] = field(default_factory=dict)
    spared: int = 0


def axis_with_gaps(
    labels: NDArray[Any], ids: Sequence[int], axes: Sequence[int], point: Sequence[int], spacing: Spacing
) -> int:
    """Return the axis along which the objects are painted in the smallest share of slices between first and last.

    Parameters
    ----------
    axes : sequence of int
        The axes to compare. The first is returned if none has gaps.
    point : sequence of int
        As for `fill_between_slices`.
    """
    parts: dict[int, float] = {}
    for axis in axes:
        own = np.isin(labels[_part_at(labels.shape, axis, point, spacing)], ids)
        painted = _painted(own, axis)
        parts[axis] = len(painted) / (painted[-1] - painted[0] + 1) if len(painted) else 1.0
    return min(parts, key=lambda axis: parts[axis])


def fill_between_slices(
    labels: NDArray[Any],
    ids: Sequence[int],
    axis: int,
    point: Sequence[int],
    spacing: Spacing,
    letters: str,
    progress: EditProgress | None = None,
) -> FilledSlices:
    """Interpolate the shape of objects in the slices between those in which they have pixels.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    ids : sequence of int
        The objects. Pixels that an earlier one gets are not overwritten by a later one.
    axis : int
        The axis of the slices.
    point : sequence of int
        An index for each axis. It selects the point on other axes along which objects do not extend (time).
    spacing : sequence of float or None
        One for each axis, as in `core.editing.edits`.
    letters : str
        The letters of the axes, for errors.
    progress : EditProgress, optional
        Gets the share of gaps that are filled.

    Raises
    ------
    PromptError
        If there is no such object at this point, or nothing to fill.
    """
    out = FilledSlices()
    index = _part_at(labels.shape, axis, point, spacing)
    values = labels[index].copy()
    sides = [1.0 if s is None else s for i, s in enumerate(spacing) if i != axis]
    reasons: list[str] = []
    gaps: list[tuple[int, int, int]] = []
    for label in ids:
        painted = _painted(values == label, axis)
        found = [(label, int(a), int(b)) for a, b in pairwise(painted) if b - a > 1]
        if not found:
            reasons.append(_why_nothing(label, painted, letters[axis]))
        gaps += found
    if not gaps:
        raise PromptError(f"Nothing to fill: {'; '.join(reasons)}.")
    for number, (label, first, last) in enumerate(gaps):
        if progress is not None:
            progress.report(number / len(gaps))
        _fill_gap(values, label, axis, first, last, sides, out, progress)
    out.pieces = [(index, values)]
    return out


def _fill_gap(
    values: NDArray[Any],
    label: int,
    axis: int,
    first: int,
    last: int,
    spacing: Sequence[float],
    out: FilledSlices,
    progress: EditProgress | None,
) -> None:
    """Fill one gap of an object in place."""
    slices = np.moveaxis(values, axis, 0)
    ends = [slices[at] == label for at in (first, last)]
    box = box_around(ends[0] | ends[1])
    assert box is not None
    shapes = blended_shapes(ends[0][box], ends[1][box], last - first - 1, spacing)
    for at, shape in enumerate(shapes, first + 1):
        if progress is not None:
            progress.report(progress.done)
        here = slices[at][box]
        free = shape & (here == 0)
        out.spared += int(np.count_nonzero(shape) - np.count_nonzero(free))
        if free.any():
            here[free] = label
            out.slices.setdefault(label, []).append(at)


def _why_nothing(label: int, painted: NDArray[Any], letter: str) -> str:
    if not len(painted):
        return f"object {label} is not at the shown point"
    if len(painted) == 1:
        return f"object {label} is in one slice of {letter} only ({painted[0]}); paint it in another one, too"
    return f"object {label} has no gap along {letter} from {painted[0]} to {painted[-1]}"


def _part_at(shape: Sequence[int], axis: int, point: Sequence[int], spacing: Spacing) -> SliceBox:
    """Return the part of the array at a point in time, as a slice for each axis."""
    return tuple(
        slice(p, p + 1) if s is None and i != axis else slice(0, n)
        for i, (n, p, s) in enumerate(zip(shape, point, spacing, strict=True))
    )


def _painted(own: NDArray[np.bool_], axis: int) -> NDArray[Any]:
    """Return the slices along an axis that have a pixel."""
    return np.flatnonzero(own.any(axis=tuple(i for i in range(own.ndim) if i != axis)))


def slices_text(slices: Collection[int]) -> str:
    """Return numbers as ranges, such as ``4 to 8, 11``."""
    ordered = sorted(slices)
    starts = [at for at in ordered if at - 1 not in slices]
    ends = [at for at in ordered if at + 1 not in slices]
    return ", ".join(f"{a} to {b}" if a < b else str(a) for a, b in zip(starts, ends, strict=True))

"""Prompts from marks: the rules that decide which marks belong to which object.

A rectangle is a box, an ellipse or polygon is a rough mask, and a line or path is a row of points on the object. Each
rectangle, ellipse and polygon is a separate object; a point or stroke belongs to the nearest of them. If there are
none, the user chooses whether all points belong to one object or each positive point is a separate object.

A painted stroke that is no wider than the brush is a row of points along its middle line; a wider area is a rough mask.
Each colour is one object; the colour `NOT_IT` marks background.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.strokes import is_stroke, medial_points
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.widgets.layers.marks import labels_on_slice, outlines_on_slice, points_on_slice

if TYPE_CHECKING:
    from napari.layers import Labels, Points, Shapes

    from napari_foundseg.core.image import Image
    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["NOT_IT", "Scribbles", "prompts_from_layers"]

#: The painted label that marks background.
NOT_IT = 2

#: Distance in pixels between the points of a stroke.
_STROKE_STEP = 8.0
#: Greatest number of points of a stroke.
_STROKE_POINTS = 12


@dataclass(frozen=True)
class Scribbles:
    """Painted prompts: a Labels layer, and how its labels become strokes and areas.

    Parameters
    ----------
    layer : napari.layers.Labels
        The painted layer; each label except `NOT_IT` is an object.
    brush : float
        Diameter in pixels of the widest brush that was used.
    areas : collection of int
        Labels that count as areas even if they are thin.
    """

    layer: Labels
    brush: float
    areas: Collection[int] = ()


@dataclass
class _Group:
    """The marks of one object; `around` holds the corners of the shape or area that was drawn for it."""

    around: NDArray[np.float64] | None = None
    boxed: bool = False
    mask: NDArray[np.bool_] | None = None
    points: list[NDArray[np.float64]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def distance(self, point: NDArray[np.float64]) -> float:
        """Return the distance of a point from the group's centre, relative to the group's size: below 1 is inside."""
        corners = np.array(self.points) if self.around is None else self.around
        low = corners.min(0)
        high = corners.max(0)
        return float(np.max(np.abs(point - (low + high) / 2) / np.maximum((high - low) / 2, 0.5)))

    def prompt(self, index: tuple[int, ...]) -> Prompt:
        """Return the prompt of these marks."""
        points = [p.tolist() for p in self.points]
        labels = list(self.labels)
        if self.around is not None and self.boxed:
            return Prompt(points, labels, [*self.around.min(0).tolist(), *self.around.max(0).tolist()])
        return Prompt(points, labels, mask=self.mask, index=None if self.mask is None else index)


#: Points that belong together, and whether they are on the object (1) or on background (0).
_Mark = tuple[list[NDArray[np.float64]], int]


def prompts_from_layers(
    points: Points | None,
    shapes: Shapes | None,
    target: ImageOnLayer,
    index: tuple[int, ...],
    each: bool = False,
    scribbles: Scribbles | None = None,
) -> list[Prompt]:
    """Return the prompts on one slice of an image.

    Coordinates are data pixels, one for each axis of the image's labels. Prompts of shapes come first, in the order of
    drawing, then painted ones by label. With `each`, every positive point and stroke outside shapes is a separate
    object.
    """
    where, labels = points_on_slice(points, target, index)
    marks: list[_Mark] = [([point], label) for point, label in zip(where, labels, strict=True)]
    groups: list[_Group] = []
    for kind, vertices in outlines_on_slice(shapes, target, index):
        if kind in ("rectangle", "ellipse", "polygon"):
            groups.append(_shape_group(kind, vertices, target.image))
        else:
            marks.append((_points_along(vertices), 1))
    if scribbles is not None:
        painted, strokes = _painted_groups(scribbles, target, index)
        groups += painted
        marks += strokes
    # Positive marks first, since a negative point belongs to an existing object.
    for own, label in sorted(marks, key=lambda mark: -mark[1]):
        group = _find_group(groups, own[len(own) // 2], label == 1 and each)
        group.points += own
        group.labels += [label] * len(own)
    return [group.prompt(index) for group in groups]


def _find_group(groups: list[_Group], point: NDArray[np.float64], alone: bool) -> _Group:
    """Return the group to which a mark belongs, or a new group."""
    shaped = [group for group in groups if group.around is not None]
    nearest = min(shaped or groups, key=lambda group: group.distance(point), default=None)
    if nearest is None or (alone and not (nearest.around is not None and nearest.distance(point) <= 1)):
        groups.append(_Group())
        return groups[-1]
    return nearest


def _shape_group(kind: str, vertices: NDArray[np.float64], image: Image) -> _Group:
    if kind == "rectangle":
        return _Group(vertices, boxed=True)
    mask = _fill_outline(vertices, image)
    # A shape smaller than a pixel counts only as a point.
    return _Group(vertices, mask=mask) if mask.any() else _Group(vertices, points=[vertices.mean(0)], labels=[1])


def _painted_groups(
    scribbles: Scribbles, target: ImageOnLayer, index: tuple[int, ...]
) -> tuple[list[_Group], list[_Mark]]:
    """Return the painted objects, and the strokes that may belong to any object."""
    from scipy import ndimage

    found = labels_on_slice(scribbles.layer, target, index)
    if found is None:
        return [], []
    (top, left), ids = found
    image = target.image
    groups: list[_Group] = []
    marks: list[_Mark] = []
    boxes = {i: box for i, box in enumerate(ndimage.find_objects(ids), 1) if box is not None}
    several = len(set(boxes) - {NOT_IT}) > 1
    for label, box in boxes.items():
        corner = top + box[0].start, left + box[1].start
        strokes, area = _split_strokes(ids[box] == label, scribbles.brush, label in scribbles.areas)
        along = [list(_to_label_axes(stroke + corner, image, index)) for stroke in strokes]
        if label == NOT_IT:
            marks += [(points, 0) for points in along]
            continue
        points = [point for stroke in along for point in stroke]
        if area is None and not several:
            marks.append((points, 1))
            continue
        corners = np.array([corner, np.add(corner, ids[box].shape) - 1], float)
        mask = None if area is None else _place_mask(area, corner, image)
        groups.append(_Group(_to_label_axes(corners, image, index), mask=mask, points=points, labels=[1] * len(points)))
    return groups, marks


def _split_strokes(
    mask: NDArray[np.bool_], brush: float, whole: bool
) -> tuple[list[NDArray[np.float64]], NDArray[np.bool_] | None]:
    """Split the pixels of one colour into points along each stroke, and areas."""
    from scipy import ndimage

    if whole:
        return [], mask
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    strokes = []
    area = np.zeros_like(mask)
    for i, box in enumerate(ndimage.find_objects(parts), 1):
        part = parts[box] == i
        if is_stroke(part, brush):
            corner = np.array([box[0].start, box[1].start])
            strokes.append(medial_points(part, _STROKE_STEP, _STROKE_POINTS) + corner)
        else:
            area[box] |= part
    return strokes, area if area.any() else None


def _to_label_axes(places: NDArray[np.float64], image: Image, index: tuple[int, ...]) -> NDArray[np.float64]:
    """Convert (N, 2) rows and columns on a slice to coordinates with one column for each axis of the labels."""
    fixed = dict(zip(image.slice_axes, index, strict=True))
    columns = {"Y": places[:, 0], "X": places[:, 1]} | {a: np.full(len(places), float(i)) for a, i in fixed.items()}
    return np.stack([columns[axis] for axis in image.label_axes], axis=1)


def _place_mask(crop: NDArray[np.bool_], corner: tuple[int, int], image: Image) -> NDArray[np.bool_]:
    mask = np.zeros(image.plane_shape, bool)
    mask[corner[0] : corner[0] + crop.shape[0], corner[1] : corner[1] + crop.shape[1]] = crop
    return mask


def _points_along(vertices: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return evenly spaced points along a line or path."""
    lengths = np.linalg.norm(np.diff(vertices, axis=0), axis=1)
    at = np.concatenate([[0.0], np.cumsum(lengths)])
    count = int(np.clip(round(at[-1] / _STROKE_STEP) + 1, 2, _STROKE_POINTS))
    places = np.linspace(0, at[-1], count)
    return list(np.stack([np.interp(places, at, column) for column in vertices.T], axis=1))


def _fill_outline(outline: NDArray[np.float64], image: Image) -> NDArray[np.bool_]:
    """Return the pixels whose centres are inside an outline."""
    from skimage.draw import polygon2mask

    plane = outline[:, [image.label_axes.index("Y"), image.label_axes.index("X")]]
    return np.asarray(polygon2mask(image.plane_shape, plane), bool)

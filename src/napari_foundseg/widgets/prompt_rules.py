"""Which of a person's marks mean which object.

A rectangle is a box, an ellipse or polygon a rough mask, a line or path a row of points on the object. Each rectangle,
ellipse and polygon means an object of its own; a point or stroke belongs to the one in whose middle it lies nearest.
Without any of them all points mean one object, or, where the person says so, each positive point its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.prompts import Prompt
from napari_foundseg.widgets.layers import outlines_on_slice, points_on_slice

if TYPE_CHECKING:
    from napari.layers import Layer, Points, Shapes

    from napari_foundseg.core.image import Image

__all__ = ["prompts_from_layers"]

#: Pixels between the points that a stroke is made of, and how many there may be.
_STROKE_STEP, _STROKE_POINTS = 8.0, 12


@dataclass
class _Group:
    """The marks that mean one object."""

    frame: NDArray[np.float64] | None = None
    outline: NDArray[np.float64] | None = None
    points: list[NDArray[np.float64]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def distance(self, point: NDArray[np.float64]) -> float:
        """Distance of a point to the middle, in units of the group's size: below 1 inside, so inside wins."""
        around = self.frame if self.frame is not None else self.outline
        corners = np.array(self.points) if around is None else around
        low, high = corners.min(0), corners.max(0)
        return float(np.max(np.abs(point - (low + high) / 2) / np.maximum((high - low) / 2, 0.5)))

    @property
    def shaped(self) -> bool:
        """Whether a shape was drawn around the object."""
        return self.frame is not None or self.outline is not None

    def prompt(self, image: Image, index: tuple[int, ...]) -> Prompt:
        """Return what the marks say."""
        points, labels = [p.tolist() for p in self.points], list(self.labels)
        box = None if self.frame is None else self.frame.ravel().tolist()
        if self.outline is None:
            return Prompt(points, labels, box)
        mask = _filled(self.outline, image)
        if mask.any():
            return Prompt(points, labels, mask=mask, index=index)
        # Smaller than a pixel: where it lies is all that it says.
        return Prompt([*points, self.outline.mean(0).tolist()], [*labels, 1])


def prompts_from_layers(
    points: Points | None, shapes: Shapes | None, layer: Layer, image: Image, index: tuple[int, ...], each: bool = False
) -> list[Prompt]:
    """Return the prompts that a person put on one slice of an image.

    Parameters
    ----------
    points : napari.layers.Points or None
        Its feature column `POLARITY` holds ``"positive"`` or ``"negative"``.
    shapes : napari.layers.Shapes or None
        Rectangles, ellipses, polygons, lines and paths.
    layer : Layer
        The image's layer.
    image : Image
        The layer as an image.
    index : tuple of int
        The slice; marks elsewhere are left out.
    each : bool
        Whether each positive point and each stroke means an object of its own, where no shape is around it.

    Returns
    -------
    list of Prompt
        In data pixels of the image, one coordinate for each axis of its labels; first those of the shapes, in the
        order they were drawn.
    """
    where, labels = points_on_slice(points, layer, image, index)
    groups, strokes = [], []
    for kind, vertices in outlines_on_slice(shapes, layer, image, index):
        if kind == "rectangle":
            groups.append(_Group(frame=np.array([vertices.min(0), vertices.max(0)])))
        elif kind in ("ellipse", "polygon"):
            groups.append(_Group(outline=vertices))
        else:
            strokes.append(_along(vertices))
    marks = [([point], label) for point, label in zip(where, labels, strict=True)]
    marks += [(list(stroke), 1) for stroke in strokes]
    # Positive ones first: a negative point belongs to an object that is there.
    for own, label in sorted(marks, key=lambda mark: -mark[1]):
        group = _owner(groups, own[len(own) // 2], label == 1 and each)
        group.points += own
        group.labels += [label] * len(own)
    return [group.prompt(image, index) for group in groups]


def _owner(groups: list[_Group], point: NDArray[np.float64], alone: bool) -> _Group:
    """Return the group that a mark belongs to, a new one where it stands alone."""
    shaped = [group for group in groups if group.shaped]
    nearest = min(shaped or groups, key=lambda group: group.distance(point), default=None)
    if nearest is None or (alone and not (nearest.shaped and nearest.distance(point) <= 1)):
        groups.append(_Group())
        return groups[-1]
    return nearest


def _along(vertices: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return points along a stroke, evenly spaced."""
    lengths = np.linalg.norm(np.diff(vertices, axis=0), axis=1)
    at = np.concatenate([[0.0], np.cumsum(lengths)])
    count = int(np.clip(round(at[-1] / _STROKE_STEP) + 1, 2, _STROKE_POINTS))
    places = np.linspace(0, at[-1], count)
    return list(np.stack([np.interp(places, at, column) for column in vertices.T], axis=1))


def _filled(outline: NDArray[np.float64], image: Image) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie inside an outline."""
    from skimage.draw import polygon2mask

    plane = outline[:, [image.label_axes.index("Y"), image.label_axes.index("X")]]
    return np.asarray(polygon2mask(image.plane_shape, plane), bool)

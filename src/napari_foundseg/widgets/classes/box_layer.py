"""`BoxLayer`: boxes that a model has found, as a Shapes layer that the user can edit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Shapes
from numpy.typing import NDArray

from napari_foundseg.tasks.classes.concepts import NamedBox
from napari_foundseg.widgets.layers.layer_axes import transform_coordinates
from napari_foundseg.widgets.layers.unique_name import unique_name

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["BoxLayer"]

_DONE = {"added", "removed", "changed"}
_CONCEPT = "concept"
_SCORE = "score"


class BoxLayer:
    """Boxes over an image, each with the name of its concept and a score.

    Parameters
    ----------
    colours : mapping of str to str
        The colour of each concept by name, in the order in which the concepts are offered.
    changed : callable
        Called without arguments when the user has changed, added or deleted a box.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        target: ImageOnLayer,
        boxes: Sequence[NamedBox],
        colours: Mapping[str, str],
        changed: Callable[[], None],
    ) -> None:
        self._viewer = viewer
        self._target = target
        self._changed = changed
        self.colours = dict(colours)
        #: The concept of boxes that the user adds.
        self.concept = next(iter(self.colours))
        self.edited = False
        self._writing = False
        self.layer = Shapes(
            ndim=len(target.overlay.axes),
            name=unique_name(viewer.layers, f"{target.name} boxes"),
            features=pd.DataFrame({_CONCEPT: pd.Series([], dtype=str), _SCORE: pd.Series([], dtype=float)}),
            text={"string": "{concept} {score:.2f}", "anchor": "upper_left", "size": 9, "color": "white"},
            face_color="transparent",
            **target.overlay.transforms,
        )
        viewer.add_layer(self.layer)
        self.show(boxes)
        self.layer.events.data.connect(self._data_changed)

    @property
    def in_viewer(self) -> bool:
        """Whether the layer is in the viewer."""
        return self.layer in self._viewer.layers

    def show(self, boxes: Sequence[NamedBox]) -> None:
        """Show other boxes instead of the current ones."""
        self._writing = True
        layer = self.layer
        layer.selected_data = set()
        layer.data = []
        if boxes:
            layer.add_rectangles(np.stack([self._corners(box) for box in boxes]), edge_width=self._width())
        layer.features = pd.DataFrame(
            {_CONCEPT: [box.concept for box in boxes], _SCORE: [float(box.score) for box in boxes]}
        )
        self.add_as(self.concept)
        self._colour()
        self._writing = False

    def add_as(self, concept: str) -> None:
        """Assign a concept to the selected boxes, and to boxes that are added from now on."""
        self.concept = concept
        layer = self.layer
        if layer.selected_data:
            features = layer.features.copy()
            features.loc[sorted(layer.selected_data), _CONCEPT] = concept
            layer.features = features
            self.edited = True
            self._colour()
        layer.feature_defaults = {_CONCEPT: concept, _SCORE: 1.0}
        layer.current_edge_width = self._width()

    def boxes(self) -> list[NamedBox]:
        """Return the current boxes, with the user's changes."""
        target = self._target
        image = target.image
        columns = [i for i, letter in enumerate(target.letters) if letter != "C"]
        axes = image.label_axes
        plane = [axes.index("Y"), axes.index("X")]
        slices = [axes.index(axis) for axis in image.slice_axes]
        found = []
        concepts, scores = (self.layer.features[name].tolist() for name in (_CONCEPT, _SCORE))
        for vertices, concept, score in zip(self.layer.data, concepts, scores, strict=True):
            corners = transform_coordinates(self.layer, target.layer, np.asarray(vertices, float))[:, columns]
            low = corners[:, plane].min(0) + 0.5
            high = np.maximum(corners[:, plane].max(0) - 0.5, low)
            index = tuple(int(v) for v in np.floor(corners[0, slices] + 0.5))
            box = tuple(np.concatenate([low, high]).round(3).tolist())
            found.append(NamedBox(concept=str(concept), box=box, index=index, score=float(score)))
        return found

    def disconnect(self) -> None:
        """Disconnect from the layer, which stays as it is."""
        self.layer.events.data.disconnect(self._data_changed)

    def _data_changed(self, event: Any) -> None:
        if self._writing or str(getattr(event, "action", "")).lower() not in _DONE:
            return
        self.edited = True
        self._colour()
        self._changed()

    def _corners(self, box: NamedBox) -> NDArray[np.float64]:
        """Return the corners of a box at the outer edges of its pixels, in the layer's data coordinates."""
        y0, x0, y1, x1 = box.box
        at = dict(zip(self._target.image.slice_axes, box.index, strict=True))
        places = [(y0 - 0.5, x0 - 0.5), (y0 - 0.5, x1 + 0.5), (y1 + 0.5, x1 + 0.5), (y1 + 0.5, x0 - 0.5)]
        return np.array(
            [[{**at, "C": 0, "Y": y, "X": x}[axis] for axis in self._target.overlay.axes] for y, x in places], float
        )

    def _colour(self) -> None:
        if len(self.layer.data):
            self.layer.edge_color = [self.colours.get(name, "white") for name in self.layer.features[_CONCEPT]]
        if not self.layer.selected_data:
            self.layer.current_edge_color = self.colours[self.concept]

    def _width(self) -> float:
        return max(1.0, max(self._target.image.plane_shape) / 400)

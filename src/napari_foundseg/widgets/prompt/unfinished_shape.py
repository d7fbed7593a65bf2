"""Undo for the corners of an unfinished polygon or line, which napari lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Labels, Layer, Shapes

__all__ = ["UnfinishedShape"]

#: Modes of a Shapes layer in which a shape is drawn corner by corner.
_DRAWN_BY_CORNERS = ("add_polygon", "add_polyline", "add_path")


class UnfinishedShape:
    """The polygon or line that is being drawn on one of the layers, if any.

    Parameters
    ----------
    layers : callable
        Returns the layers on which shapes can be drawn.
    """

    def __init__(self, layers: Callable[[], list[Layer]]) -> None:
        self._layers = layers
        #: Corners that were undone: their layer, the number of corners that were left, and the corner.
        self._undone: list[tuple[Layer, int, Any]] = []

    @property
    def layer(self) -> Layer | None:
        """The layer on which a shape is being drawn; None if there is none."""
        return next((layer for layer in self._layers() if len(_corners(layer))), None)

    @property
    def can_redo(self) -> bool:
        """Whether a corner was undone and nothing was drawn since."""
        layer = self.layer
        if layer is None or not self._undone or self._undone[-1][:2] != (layer, len(_corners(layer))):
            self._undone.clear()
        return bool(self._undone)

    def undo(self) -> str:
        """Remove the last corner, or the whole shape if it has only one; return a message."""
        layer = self.layer
        assert layer is not None
        # The last entry is the position of the pointer.
        corners = _corners(layer)
        left = [*corners[:-2], corners[-1]]
        if len(left) == 1:
            self._undone.clear()
            _stop(layer)
            return "Shape removed"
        self._undone.append((layer, len(left), corners[-2]))
        _draw(layer, left)
        return "Corner removed"

    def redo(self) -> str:
        """Put the corner back that was removed last; return a message."""
        layer, _count, corner = self._undone.pop()
        corners = _corners(layer)
        _draw(layer, [*corners[:-1], corner, corners[-1]])
        return "Corner is back"


def _corners(layer: Any) -> Any:
    """Return the corners of the unfinished shape, with the pointer last; empty if none is being drawn."""
    if isinstance(layer, Labels):
        return list(_polygon(layer).points) if layer.mode == "polygon" else []
    if isinstance(layer, Shapes) and layer._is_creating and layer.mode in _DRAWN_BY_CORNERS:
        index = layer._moving_value[0]
        return [] if index is None else list(layer._data_view.shapes[index].data)
    return []


def _draw(layer: Any, corners: list[Any]) -> None:
    if isinstance(layer, Labels):
        _polygon(layer).points = corners
        return
    from napari.layers.shapes._shapes_models import Path, Polygon

    index = layer._moving_value[0]
    closed = layer.mode == "add_polygon" and len(corners) > 2
    layer._data_view.edit(index, np.array(corners), new_type=Polygon if closed else Path)
    layer._value = layer._moving_value = (index, len(corners) - 1)
    layer.refresh()


def _stop(layer: Any) -> None:
    if isinstance(layer, Labels):
        _polygon(layer).points = []
    else:
        layer._finish_drawing()


def _polygon(layer: Labels) -> Any:
    return layer._overlays["polygon"]

"""The right mouse button and Alt on a scribble layer: they paint with the opposite sign."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_foundseg.widgets.prompt.prompt_rules import NOT_IT

if TYPE_CHECKING:
    from napari.layers import Labels

__all__ = ["OtherSign"]

#: The number of the right mouse button.
_RIGHT = 2
_MODES = ("paint", "fill", "polygon")


class OtherSign:
    """A temporary switch of the selected label, for one stroke, area or polygon.

    napari uses these inputs for other actions: the right button draws a closed outline with the brush (since 0.8) and
    removes corners of polygons, and Alt changes the size of the brush. These actions are disabled for this layer.
    """

    def __init__(self, layer: Labels) -> None:
        self._layer = layer
        #: The label to restore; None while the label is not switched.
        self._label: int | None = None
        self._adds_corner = False
        self._resize = getattr(layer, "brush_size_on_mouse_move", None)
        layer.mouse_drag_callbacks.insert(0, self._on_press)
        layer.mouse_move_callbacks.insert(0, self._on_move)
        layer.mouse_double_click_callbacks.insert(0, self._on_double_click)
        layer.events.mode.connect(self._on_mode)
        if (polygon := _overlay(layer, "polygon")) is not None:
            polygon.events.points.connect(self._on_corners)
        self._on_mode()

    def release(self) -> None:
        """Disconnect from the layer and restore the label."""
        self._restore()
        layer = self._layer
        for callbacks, own in (
            (layer.mouse_drag_callbacks, self._on_press),
            (layer.mouse_move_callbacks, self._on_move),
            (layer.mouse_double_click_callbacks, self._on_double_click),
        ):
            if own in callbacks:
                callbacks.remove(own)
        layer.events.mode.disconnect(self._on_mode)
        if (polygon := _overlay(layer, "polygon")) is not None:
            polygon.events.points.disconnect(self._on_corners)

    def _on_mode(self, _event: Any = None) -> None:
        self._restore()
        if (stroke := _overlay(self._layer, "brush_stroke")) is not None:
            stroke.enabled = False
        if self._resize in self._layer.mouse_move_callbacks:
            self._layer.mouse_move_callbacks.remove(self._resize)

    def _on_press(self, layer: Labels, event: Any) -> Generator[None, None, None]:
        if layer.mode not in _MODES:
            return
        other = event.button == _RIGHT or "Alt" in event.modifiers
        if layer.mode == "polygon":
            yield from self._press_corner(event, other)
            return
        # The release of the last mouse press may have been lost.
        self._restore()
        if not other:
            return
        self._invert()
        try:
            yield
            while event.type == "mouse_move":
                yield
        finally:
            self._restore()

    def _press_corner(self, event: Any, other: bool) -> Generator[None, None, None]:
        """Set the polygon's sign at its first corner, and let the right button add corners to a polygon it began."""
        polygon = _overlay(self._layer, "polygon")
        if polygon is None:
            return
        corners = list(polygon.points)
        if other and not corners:
            self._invert()
        if event.button != _RIGHT or self._label is None:
            return
        place = np.array(self._layer.world_to_data(event.position), float)
        shown = list(event.dims_displayed)
        place[shown] = np.floor(place[shown] + 0.5) + 0.5
        self._adds_corner = True
        try:
            yield
        finally:
            self._adds_corner = False
        # By now napari has removed a corner, so write all corners again.
        polygon.points = [*corners[:-1], place.tolist(), (place + 1e-3).tolist()]

    def _on_double_click(self, layer: Labels, event: Any) -> None:
        """Finish a polygon that is drawn with the right button."""
        polygon = _overlay(layer, "polygon")
        if layer.mode == "polygon" and event.button == _RIGHT and self._label is not None and polygon is not None:
            polygon.points = polygon.points[:-1]
            polygon.add_polygon_to_labels(layer)

    def _on_move(self, layer: Labels, _event: Any) -> None:
        # A move without a pressed button: the release was lost, for example outside the canvas.
        if layer.mode != "polygon":
            self._restore()

    def _on_corners(self, _event: Any = None) -> None:
        if not self._adds_corner and not _overlay(self._layer, "polygon").points:
            self._restore()

    def _invert(self) -> None:
        layer = self._layer
        self._label = int(layer.selected_label)
        layer.selected_label = 1 if self._label == NOT_IT else NOT_IT

    def _restore(self) -> None:
        if self._label is not None:
            label = self._label
            self._label = None
            self._layer.selected_label = label


def _overlay(layer: Labels, name: str) -> Any:
    """Return a named napari overlay of a layer; None if this napari version has none of that name."""
    return layer._overlays.get(name)

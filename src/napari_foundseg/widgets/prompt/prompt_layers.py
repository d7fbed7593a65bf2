"""The layers for prompts: points, shapes and scribbles over an image, and their keys."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Points, Shapes
from qtpy.QtCore import QTimer

from napari_foundseg.widgets.controls.colours import NEGATIVE, POSITIVE
from napari_foundseg.widgets.layers.layer_axes import displayed_axes
from napari_foundseg.widgets.layers.layer_keys import bind_keys, unbind_keys
from napari_foundseg.widgets.layers.marks import POLARITY
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.prompt.mark_history import LayerMarks, MarkHistory
from napari_foundseg.widgets.prompt.mask_preview import MaskPreview
from napari_foundseg.widgets.prompt.prompt_rules import prompts_from_layers
from napari_foundseg.widgets.prompt.scribble_layer import ScribbleLayer
from napari_foundseg.widgets.prompt.unfinished_shape import UnfinishedShape
from napari_foundseg.widgets.qt.event_loop import draw_once

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_foundseg.core.image import Image
    from napari_foundseg.core.prompts import Prompt
    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["PromptLayers", "Tool"]

#: A tool for marking objects.
Tool = Literal["points", "shapes", "brush"]

#: The number of the right mouse button.
_RIGHT = 2
_DONE = {"added", "removed", "changed"}


class PromptLayers:
    """A Points and a Shapes layer over an image, a preview and, on demand, a Labels layer for scribbles.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer; the layers are added to it.
    changed : callable
        Called without arguments when a prompt was added, moved or removed, or when the image's pixels have changed.
    ended : callable
        Called with the reason, as text, when the session has to end: a layer was removed, or the image has
        another shape.
    """

    def __init__(
        self, viewer: ViewerModel, target: ImageOnLayer, changed: Callable[[], None], ended: Callable[[str], None]
    ) -> None:
        self._viewer = viewer
        #: The image's layer.
        self.layer = layer = target.layer
        self._target = target
        self._changed = changed
        self._ended = ended
        # Check only after napari has finished, for example with removing several layers.
        self._soon = QTimer()
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._check_session)
        self._keys: dict[str, Callable[[], None]] = {}
        self._quiet = False
        self._positive = True
        self._scribble: ScribbleLayer | None = None
        #: Whether each point is a separate object.
        self.each = False
        #: Undo and redo of the marks of all layers.
        self.history = MarkHistory(UnfinishedShape(lambda: self.layers), self._write_marks)
        self.preview = MaskPreview(viewer, target)
        # napari is slow with the first layer of each type: adding three at once would freeze the window.
        draw_once()
        transforms = target.overlay.transforms
        ndim = len(transforms["scale"])
        self.boxes = Shapes(
            ndim=ndim,
            name=unique_name(viewer.layers, "foundseg shapes"),
            edge_color=POSITIVE,
            face_color="transparent",
            edge_width=2 * _mark_size(target.image),
            **transforms,
        )
        self.points = Points(
            np.empty((0, ndim)),
            name=unique_name(viewer.layers, "foundseg points"),
            features={POLARITY: np.array([], dtype=object)},
            size=10 * _mark_size(target.image),
            border_color="white",
            **transforms,
        )
        self.points.feature_defaults = {POLARITY: "positive"}
        self.points.face_color_cycle = {"positive": POSITIVE, "negative": NEGATIVE}
        self.points.face_color = POLARITY
        for added in (self.boxes, self.points):
            draw_once()
            viewer.add_layer(added)
            added.events.data.connect(self._on_data)
        self._marks = {layer: LayerMarks(layer, self._name_slice) for layer in (self.points, self.boxes)}
        self.points.mouse_drag_callbacks.insert(0, self._set_polarity)
        self.points.mode = "add"
        self.boxes.mode = "add_rectangle"
        viewer.layers.selection.active = self.points
        self._shape = _shape(layer)
        viewer.layers.events.removed.connect(self._on_removed)
        layer.events.data.connect(self._check_soon)

    @property
    def layers(self) -> list[Layer]:
        """The layers with marks; the preview is not included."""
        painted = [] if self._scribble is None else [self._scribble.layer]
        return [self.points, self.boxes, *painted]

    @property
    def empty(self) -> bool:
        """Whether there are no marks on any slice."""
        painted = self._scribble is not None and self._scribble.used
        return not (len(self.points.data) or len(self.boxes.data) or painted)

    @property
    def positive(self) -> bool:
        """Whether clicks and strokes mark the object rather than background."""
        return self._positive

    @positive.setter
    def positive(self, on: bool) -> None:
        self._positive = on
        if self._scribble is not None:
            self._scribble.set_sign(on)

    def use(self, tool: Tool) -> None:
        """Activate a tool and its layer."""
        layer = {"points": self.points, "shapes": self.boxes}.get(tool) or self.scribble.layer
        layer.visible = True
        layer.mode = {"points": "add", "shapes": "add_rectangle", "brush": "paint"}[tool]
        self._viewer.layers.selection.active = layer

    @property
    def scribble(self) -> ScribbleLayer:
        """The layer for painted prompts, created on demand because every layer slows down drawing."""
        if self._scribble is None or self._scribble.layer not in self._viewer.layers:
            active = self._viewer.layers.selection.active
            self._scribble = ScribbleLayer(self._viewer, self._target, self._on_stroke, self.history)
            self._scribble.set_sign(self.positive)
            self._viewer.layers.selection.active = active
            self.bind(self._keys)
        return self._scribble

    def prompts(self, target: ImageOnLayer, index: tuple[int, ...]) -> list[Prompt]:
        """Return the prompts on a slice, in data pixels of the current image."""
        there = self._scribble is not None and self._scribble.layer in self._viewer.layers
        scribbles = self._scribble.scribbles if self._scribble is not None and there else None
        return prompts_from_layers(self.points, self.boxes, target, index, self.each, scribbles)

    def clear(self) -> None:
        """Remove all marks; the layers and tools stay."""
        self._quiet = True
        self.points.data = np.empty((0, self.points.ndim))
        self.boxes.data = []
        self.boxes.mode = "add_rectangle"
        if self._scribble is not None:
            self._scribble.clear()
        self._quiet = False
        for marks in self._marks.values():
            marks.forget()
        self.history.clear()

    def bind(self, keys: dict[str, Callable[[], None]]) -> None:
        """Bind keys that act only in these layers.

        Parameters
        ----------
        keys : dict of str to callable
            A function for each key. Keys that were bound before and are missing here are unbound.
        """
        for layer in self.layers:
            unbind_keys(layer, set(self._keys) - set(keys))
            bind_keys(layer, keys)
        self._keys = dict(keys)

    def release(self) -> None:
        """Disconnect from keys, mouse and events."""
        self.bind({})
        self._soon.stop()
        self._viewer.layers.events.removed.disconnect(self)
        self.layer.events.data.disconnect(self)
        for layer in (self.points, self.boxes):
            layer.events.data.disconnect(self)
        if self._set_polarity in self.points.mouse_drag_callbacks:
            self.points.mouse_drag_callbacks.remove(self._set_polarity)
        if self._scribble is not None:
            self._scribble.release()

    def remove(self) -> None:
        """Disconnect and remove the layers."""
        self.release()
        for layer in (*self.layers, self.preview.layer):
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def _write_marks(self, write: Callable[[], None]) -> None:
        """Call a function that writes marks, and report a single change."""
        self._quiet = True
        try:
            write()
        finally:
            self._quiet = False
        self._changed()

    def _set_polarity(self, points: Points, event: Any) -> Generator[None, None, None]:
        """Set the sign before napari adds the point; Alt or the right button inverts it."""
        positive = self.positive != ("Alt" in event.modifiers or event.button == _RIGHT)
        points.feature_defaults = {POLARITY: "positive" if positive else "negative"}
        # Each sign also has its own symbol, for users who cannot distinguish the colours.
        with points.block_update_properties():
            points.current_symbol = "disc" if positive else "diamond"
        yield

    def _on_removed(self, event: Any) -> None:
        if event.value in (self.layer, self.preview.layer, *self.layers):
            self._check_soon()

    def _check_soon(self, _event: Any = None) -> None:
        self._soon.start()

    def _check_session(self) -> None:
        """End the session if it cannot continue; otherwise report a change."""
        needed = [self.layer, self.preview.layer, self.points, self.boxes]
        if gone := [one.name for one in needed if one not in self._viewer.layers]:
            self._ended(f"{gone[0]!r} was removed")
        elif _shape(self.layer) != self._shape:
            self._ended(f"{self.layer.name!r} has another shape now")
        else:
            self._changed()

    def _on_stroke(self) -> None:
        if not self._quiet:
            self._changed()

    def _on_data(self, event: Any) -> None:
        action = str(getattr(getattr(event, "action", ""), "value", getattr(event, "action", "")))
        if self._quiet or action not in _DONE:
            return
        if (step := self._marks[event.source].step()) is not None:
            self.history.add(step)
        self._changed()

    def _name_slice(self, layer: Layer, place: Any) -> str:
        """Return the name of the slice of a mark, if the viewer does not show that slice; else an empty text."""
        hidden = sorted(set(range(layer.ndim)) - set(displayed_axes(self._viewer, layer)))
        shown = layer.world_to_data(self._viewer.dims.point[-layer.ndim :])
        here, there = ([int(np.floor(at[axis] + 0.5)) for axis in hidden] for at in (shown, place))
        return "" if here == there else f" on slice {', '.join(map(str, there))}"


def _shape(layer: Layer) -> tuple[int, ...]:
    return tuple(layer.data[0].shape if getattr(layer, "multiscale", False) else layer.data.shape)


def _mark_size(image: Image) -> float:
    """Return a mark size that is visible but does not cover small images."""
    return max(0.1, min(1.0, min(image.plane_shape) / 256))

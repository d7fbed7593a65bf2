"""The layers that a person points on: points, shapes and scribbles over an image, and the keys that act on them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Points, Shapes
from qtpy.QtCore import QTimer

from napari_foundseg.widgets.controls.colours import NEGATIVE, POSITIVE
from napari_foundseg.widgets.layers.layer_keys import bind_keys, unbind_keys
from napari_foundseg.widgets.layers.marks import POLARITY
from napari_foundseg.widgets.layers.overlay import Overlay
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.prompt.mask_preview import Preview
from napari_foundseg.widgets.prompt.prompt_rules import prompts_from_layers
from napari_foundseg.widgets.prompt.scribble_layer import Scribble
from napari_foundseg.widgets.qt.event_loop import next_turn

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_foundseg.core.image import Image
    from napari_foundseg.core.prompts import Prompt

__all__ = ["PromptLayers", "Tool"]

#: What a person marks with.
Tool = Literal["points", "shapes", "brush"]

#: The number of the right mouse button.
_RIGHT = 2
_DONE = {"added", "removed", "changed"}


class PromptLayers:
    """A Points and a Shapes layer over an image, once it is wanted a Labels layer for scribbles, and a preview.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer; the layers are added to it.
    layer : Layer
        The image's layer.
    image : Image
        The layer as an image.
    changed : callable
        Called without arguments when a prompt was added, moved or removed, or the image has other pixels.
    ended : callable
        Told in words why the session cannot go on: a layer that it needs was removed, or the image has another shape.
    """

    def __init__(
        self, viewer: ViewerModel, layer: Layer, image: Image, changed: Callable[[], None], ended: Callable[[str], None]
    ) -> None:
        self._viewer = viewer
        #: The image's layer.
        self.layer = layer
        self._image = image
        self._changed, self._ended = changed, ended
        # Only once napari has done what it is doing, such as removing several layers.
        self._soon = QTimer()
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._look)
        self._keys: dict[str, Callable[[], None]] = {}
        self._quiet = False
        self._positive = True
        self._scribble: Scribble | None = None
        #: Whether each point means an object of its own.
        self.each = False
        self.preview = Preview(viewer, layer, image)
        # napari takes its time for the first layer of a kind: for three at once the window would stand still too long.
        next_turn()
        transforms = Overlay(layer, image).transforms
        ndim = len(transforms["scale"])
        self.boxes = Shapes(
            ndim=ndim,
            name=unique_name(viewer.layers, "foundseg shapes"),
            edge_color=POSITIVE,
            face_color="transparent",
            edge_width=2 * _pixel(image),
            **transforms,
        )
        self.points = Points(
            np.empty((0, ndim)),
            name=unique_name(viewer.layers, "foundseg points"),
            features={POLARITY: np.array([], dtype=object)},
            size=10 * _pixel(image),
            border_color="white",
            **transforms,
        )
        self.points.feature_defaults = {POLARITY: "positive"}
        self.points.face_color_cycle = {"positive": POSITIVE, "negative": NEGATIVE}
        self.points.face_color = POLARITY
        for added in (self.boxes, self.points):
            next_turn()
            viewer.add_layer(added)
            added.events.data.connect(self._on_data)
        self.points.mouse_drag_callbacks.insert(0, self._set_polarity)
        self.points.mode = "add"
        self.boxes.mode = "add_rectangle"
        viewer.layers.selection.active = self.points
        self._shape = _shape(layer)
        viewer.layers.events.removed.connect(self._on_removed)
        layer.events.data.connect(self._look_soon)

    @property
    def layers(self) -> list[Layer]:
        """The layers of the session."""
        painted = [] if self._scribble is None else [self._scribble.layer]
        return [self.points, self.boxes, *painted]

    @property
    def empty(self) -> bool:
        """Whether nothing is marked on any slice."""
        painted = self._scribble is not None and self._scribble.used
        return not (len(self.points.data) or len(self.boxes.data) or painted)

    @property
    def positive(self) -> bool:
        """Whether clicks and strokes mark what is on the object."""
        return self._positive

    @positive.setter
    def positive(self, on: bool) -> None:
        self._positive = on
        if self._scribble is not None:
            self._scribble.set_sign(on)

    def use(self, tool: Tool) -> None:
        """Take a tool in hand: its layer becomes the active one.

        Parameters
        ----------
        tool : {'points', 'shapes', 'brush'}
            Which.
        """
        layer = {"points": self.points, "shapes": self.boxes}.get(tool) or self.scribble.layer
        layer.visible = True
        layer.mode = {"points": "add", "shapes": "add_rectangle", "brush": "paint"}[tool]
        self._viewer.layers.selection.active = layer

    @property
    def scribble(self) -> Scribble:
        """The layer to paint prompts on, made when it is first wanted: every layer over the image costs each frame."""
        if self._scribble is None or self._scribble.layer not in self._viewer.layers:
            active = self._viewer.layers.selection.active
            self._scribble = Scribble(self._viewer, self.layer, self._image, self._on_stroke)
            self._scribble.set_sign(self.positive)
            self._viewer.layers.selection.active = active
            self.bind(self._keys)
        return self._scribble

    def prompts(self, image: Image, index: tuple[int, ...]) -> list[Prompt]:
        """Return the prompts of a slice.

        Parameters
        ----------
        image : Image
            The image.
        index : tuple of int
            The slice.

        Returns
        -------
        list of Prompt
            In data pixels of the image.
        """
        there = self._scribble is not None and self._scribble.layer in self._viewer.layers
        scribbles = self._scribble.scribbles if self._scribble is not None and there else None
        return prompts_from_layers(self.points, self.boxes, self.layer, image, index, self.each, scribbles)

    def clear(self) -> None:
        """Take all prompts away; the layers stay armed."""
        self._quiet = True
        self.points.data = np.empty((0, self.points.ndim))
        self.boxes.data = []
        self.boxes.mode = "add_rectangle"
        if self._scribble is not None:
            self._scribble.clear()
        self._quiet = False

    def bind(self, keys: dict[str, Callable[[], None]]) -> None:
        """Bind keys on these layers and nowhere else.

        Parameters
        ----------
        keys : dict of str to callable
            What each key does. Keys bound before and not named are let go.
        """
        for layer in self.layers:
            unbind_keys(layer, set(self._keys) - set(keys))
            bind_keys(layer, keys)
        self._keys = dict(keys)

    def release(self) -> None:
        """Let go of keys, mouse and events."""
        self.bind({})
        self._soon.stop()
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self.layer.events.data.disconnect(self._look_soon)
        for layer in (self.points, self.boxes):
            layer.events.data.disconnect(self._on_data)
        if self._set_polarity in self.points.mouse_drag_callbacks:
            self.points.mouse_drag_callbacks.remove(self._set_polarity)
        if self._scribble is not None:
            self._scribble.release()

    def remove(self) -> None:
        """Let go and take the layers out of the viewer."""
        self.release()
        for layer in (*self.layers, self.preview.layer):
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def _set_polarity(self, points: Points, event: Any) -> Generator[None, None, None]:
        """Choose the sign before napari's own tool adds the point: Alt or the right button turns it round."""
        positive = self.positive != ("Alt" in event.modifiers or event.button == _RIGHT)
        points.feature_defaults = {POLARITY: "positive" if positive else "negative"}
        # A shape of its own, too, for those who cannot tell the colours apart.
        with points.block_update_properties():
            points.current_symbol = "disc" if positive else "diamond"
        yield

    def _on_removed(self, event: Any) -> None:
        if event.value in (self.layer, self.preview.layer, *self.layers):
            self._look_soon()

    def _look_soon(self, _event: Any = None) -> None:
        self._soon.start()

    def _look(self) -> None:
        """End where the session cannot go on; else what is marked, or the image, has changed."""
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
        if not self._quiet and action in _DONE:
            self._changed()


def _shape(layer: Layer) -> tuple[int, ...]:
    return tuple(layer.data[0].shape if getattr(layer, "multiscale", False) else layer.data.shape)


def _pixel(image: Image) -> float:
    """Return the size of a mark that is seen but does not cover small images."""
    return max(0.1, min(1.0, min(image.plane_shape) / 256))

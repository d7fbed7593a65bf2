"""The layer of outlines. It stays in the viewer, empty, since napari takes long to add or remove a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_foundseg.widgets.controls.colours import CHOSEN, CHOSEN_TOO, HALO, listed_colormap
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.overlay import part_transforms
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.qt.numpy_thread import collections_short

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["FIRST", "HALO_RIM", "OTHERS", "OutlineLayer"]

#: Labels of the layer, which determine its colours.
FIRST = 1
OTHERS = 2
HALO_RIM = 3
#: Milliseconds from the last use of the layer to its removal: another layer's objects may be outlined next.
_REMOVAL = 100
_MOVING = ("scale", "translate", "rotate", "shear", "affine")

#: Outline layers that are not in use.
_free: WeakSet[Labels] = WeakSet()


class OutlineLayer:
    """Outlines over a Labels layer; `add` and `show` put them into the viewer.

    Parameters
    ----------
    labels : napari.layers.Labels
        The layer over which the outlines are drawn.
    """

    def __init__(self, viewer: ViewerModel, labels: Labels) -> None:
        self._viewer = viewer
        self._labels = labels
        self._layer: Labels | None = None
        self.is_empty = True

    @property
    def layer(self) -> Labels | None:
        """The layer of outlines; None if it is not in the viewer."""
        return self._layer if self._layer is not None and self._layer in self._viewer.layers else None

    def add(self) -> None:
        """Add the layer, empty."""
        if self.layer is None:
            corner = [0] * self._labels.ndim
            self._layer = self._taken_layer() or self._added_layer(part_transforms(self._labels, corner))
            self.is_empty = True

    def show(self, outlines: NDArray[np.uint8], corner: list[int]) -> None:
        """Show outlines; `corner` is the position of their first pixel in the labels."""
        self.add()
        layer = self._layer
        assert layer is not None
        # Each change would draw the layer again. The pixels come first: the viewer reads the extent when a layer moves.
        with layer._block_refresh():
            _fill(layer, outlines)
            for name, value in part_transforms(self._labels, corner).items():
                if name in _MOVING and not _is_same(getattr(layer, name), value):
                    setattr(layer, name, value)
        layer.refresh()
        layers = self._viewer.layers
        if self.is_empty and layers[-1] is not layer:
            layers.move(layers.index(layer), len(layers))
        self.is_empty = False

    def clear(self) -> None:
        """Show no outlines."""
        if not self.is_empty and self.layer is not None:
            _fill(self.layer, _nothing(self.layer.ndim))
        self.is_empty = True

    def release(self) -> None:
        """Leave the layer to the outlines of other labels; it is removed if none of them uses it soon."""
        layer = self.layer
        if layer is not None:
            self.clear()
            _free.add(layer)
            viewer = self._viewer
            QTimer.singleShot(_REMOVAL, lambda: _remove_free(viewer, layer))
        self._layer = None

    def _taken_layer(self) -> Labels | None:
        """Return an outline layer that is not in use and has the same axes and units, or None."""
        labels = self._labels
        for layer in _free:
            if layer in self._viewer.layers and (layer.ndim, layer.units, layer.axis_labels) == (
                labels.ndim,
                labels.units,
                labels.axis_labels,
            ):
                _free.remove(layer)
                return layer
        return None

    def _added_layer(self, transforms: dict[str, Any]) -> Labels:
        layer = Labels(
            _nothing(self._labels.ndim),
            name=unique_name(self._viewer.layers, "foundseg chosen"),
            colormap=listed_colormap([CHOSEN, CHOSEN_TOO, HALO]),
            opacity=1,
            blending="translucent_no_depth",
            metadata={TOOL: True},
            **transforms,
        )
        layer.editable = False
        selection = self._viewer.layers.selection
        active = selection.active
        chosen = set(selection)
        self._viewer.add_layer(layer)
        selection.clear()
        selection.update(chosen)
        selection.active = active
        return layer


def _nothing(ndim: int) -> NDArray[np.uint8]:
    return np.zeros((1,) * ndim, np.uint8)


def _fill(layer: Labels, pixels: NDArray[np.uint8]) -> None:
    # On this event, napari would compile the colours again, even if the dtype stays the same.
    with layer.events.data.blocker():
        layer.data = pixels


def _remove_free(viewer: ViewerModel, layer: Labels) -> None:
    if layer in _free:
        _free.remove(layer)
        if layer in viewer.layers:
            with collections_short():
                viewer.layers.remove(layer)


def _is_same(one: Any, other: Any) -> bool:
    return np.array_equal(getattr(one, "affine_matrix", one), getattr(other, "affine_matrix", other))

"""Outlines of the chosen objects of a Labels layer, in a layer of their own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from napari_foundseg.core.editing.object_boxes import box_of
from napari_foundseg.widgets.controls.colours import CHOSEN, CHOSEN_TOO, HALO, listed_colormap
from napari_foundseg.widgets.layers.camera import find_camera
from napari_foundseg.widgets.layers.layer_conversion import view_pixel
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.overlay import part_transforms
from napari_foundseg.widgets.layers.unique_name import unique_name

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.core.editing.difference import SliceBox
    from napari_foundseg.widgets.editing.labels_history import LabelsHistory

__all__ = ["ObjectOutlines", "shared_outlines"]

#: Labels of the layer of outlines, which select its colours.
_FIRST = 1
_OTHERS = 2
_HALO = 3
#: Width of an outline on the screen.
_SCREEN_PIXELS = 2.0
#: Greatest number of voxels that are searched in the 3-D view.
_MOST_VOXELS = 1 << 28

_shared: WeakKeyDictionary[Labels, ObjectOutlines] = WeakKeyDictionary()


def shared_outlines(viewer: ViewerModel, history: LabelsHistory, user: Hashable) -> ObjectOutlines:
    """Return the one set of outlines of a layer; it is removed when every `user` has called `leave`."""
    if history.layer not in _shared:
        _shared[history.layer] = ObjectOutlines(viewer, history)
    _shared[history.layer].join(user)
    return _shared[history.layer]


class ObjectOutlines(QObject):
    """Outlines of objects on the current slice; in the 3-D view their surfaces.

    They are in a small layer that covers the objects only, so that a large layer is not drawn again. The user's layer
    is left alone.

    Parameters
    ----------
    history : LabelsHistory
        Of the layer with the objects; it reports the edits.
    """

    def __init__(self, viewer: ViewerModel, history: LabelsHistory) -> None:
        super().__init__()
        self._viewer = viewer
        self._history = history
        self._labels = history.layer
        self._ids: tuple[int, ...] = ()
        self._layer: Labels | None = None
        self._users: set[Hashable] = set()
        self._width = 0
        # One event of the user causes several here.
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._draw)
        history.stepped.connect(self._draw_soon)
        for emitter in self._emitters:
            emitter.connect(self._draw_soon)
        self._zoomed.connect(self._on_zoom)

    @property
    def layer(self) -> Labels | None:
        """The layer of outlines; None while none are shown."""
        return self._layer

    def show(self, ids: Sequence[int]) -> None:
        """Outline these objects and no others; the first has a colour of its own."""
        self._ids = tuple(ids)
        self._draw_soon()

    def join(self, user: Hashable) -> None:
        """Register a user of the outlines."""
        self._users.add(user)

    def leave(self, user: Hashable) -> None:
        """Unregister a user; the last one removes the layer. Leaving twice does nothing."""
        if user not in self._users:
            return
        self._users.remove(user)
        if not self._users:
            _shared.pop(self._labels, None)
            self._soon.stop()
            self._history.stepped.disconnect(self._draw_soon)
            for emitter in self._emitters:
                emitter.disconnect(self._draw_soon)
            self._zoomed.disconnect(self._on_zoom)
            self._remove()

    @property
    def _emitters(self) -> list[Any]:
        events = self._labels.events
        moved = [events.scale, events.translate, events.rotate, events.shear, events.affine]
        dims = self._viewer.dims.events
        return [
            events.data, events.visible, *moved,
            dims.current_step, dims.ndisplay, dims.order,
        ]  # fmt: skip

    @property
    def _zoomed(self) -> Any:
        return find_camera(self._viewer).events.zoom

    def _on_zoom(self, _event: Any = None) -> None:
        if self._layer is not None and self._rim_width() != self._width:
            self._draw_soon()

    def _rim_width(self) -> int:
        """Return the width of an outline in pixels of the layer."""
        return max(1, round(_SCREEN_PIXELS * view_pixel(self._viewer, self._labels)))

    def _draw_soon(self, _event: Any = None) -> None:
        if self._ids or self._layer is not None:
            self._soon.start()

    def _draw(self) -> None:
        found = self._find_objects() if self._ids and self._labels.visible else None
        if found is None or self._labels not in self._viewer.layers:
            self._remove()
            return
        box, ids = found
        shown = [axis for axis, part in enumerate(box) if part.stop - part.start > 1 or axis in self._displayed()]
        self._width = width = self._rim_width()
        padded = np.pad(ids, [(2 * width, 2 * width) if axis in shown else (0, 0) for axis in range(ids.ndim)])
        outlines = _outlines(padded, self._ids, width, shown)
        corner = [part.start - 2 * width * (axis in shown) for axis, part in enumerate(box)]
        self._show(outlines, corner)

    def _displayed(self) -> list[int]:
        """Return the axes of the layer that the viewer displays."""
        offset = self._viewer.dims.ndim - self._labels.ndim
        return [axis - offset for axis in self._viewer.dims.displayed if axis >= offset]

    def _find_objects(self) -> tuple[SliceBox, NDArray[Any]] | None:
        """Return the box of the chosen objects in what the viewer shows, and its labels."""
        labels = self._labels
        data = labels.data
        displayed = self._displayed()
        place = labels.world_to_data(self._viewer.dims.point[-labels.ndim :])
        region: list[slice] = []
        for axis, size in enumerate(data.shape):
            at = int(np.floor(place[axis] + 0.5))
            if axis not in displayed and not 0 <= at < size:
                return None
            region.append(slice(0, size) if axis in displayed else slice(at, at + 1))
        part = data[tuple(region)]
        if part.size > _MOST_VOXELS or (box := box_of(part, self._ids)) is None:
            return None
        whole = tuple(slice(b.start + r.start, b.stop + r.start) for b, r in zip(box, region, strict=True))
        return whole, part[box]

    def _show(self, outlines: NDArray[np.uint8], corner: list[int]) -> None:
        transforms = part_transforms(self._labels, corner)
        layer = self._layer
        if layer is not None and layer in self._viewer.layers:
            layer.data = outlines
            for name in ("scale", "translate", "rotate", "shear", "affine"):
                setattr(layer, name, transforms[name])
            return
        self._layer = layer = Labels(
            outlines,
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

    def _remove(self) -> None:
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = None


def _outlines(ids: NDArray[Any], chosen: Sequence[int], width: int, axes: Sequence[int]) -> NDArray[np.uint8]:
    """Return the rims of objects, as wide as given, each with a halo outside of it."""
    from scipy import ndimage

    around = ndimage.generate_binary_structure(ids.ndim, 1)
    for axis in set(range(ids.ndim)) - set(axes):
        around[tuple(slice(None) if i != axis else [0, 2] for i in range(ids.ndim))] = False
    out = np.zeros(ids.shape, np.uint8)
    for number, label in enumerate(chosen):
        own = ids == label
        rim = own & ~ndimage.binary_erosion(own, around, iterations=width)
        halo = ndimage.binary_dilation(own, around, iterations=width) & ~own
        out[halo & (out == 0)] = _HALO
        out[rim] = _FIRST if number == 0 else _OTHERS
    return out

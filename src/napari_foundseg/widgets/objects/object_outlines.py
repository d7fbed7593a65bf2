"""Outlines of the chosen objects of a Labels layer, in a separate layer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from napari_foundseg.core.editing.object_boxes import box_of
from napari_foundseg.widgets.layers.camera import find_camera
from napari_foundseg.widgets.layers.layer_conversion import view_pixel
from napari_foundseg.widgets.objects.outline_layer import FIRST, HALO_RIM, OTHERS, OutlineLayer
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.widgets.editing.labels_history import LabelsHistory

__all__ = ["ObjectOutlines", "shared_outlines"]

#: Width of an outline in screen pixels.
_SCREEN_PIXELS = 2.0
#: Maximum number of voxels that are searched in the 3-D view.
_MOST_VOXELS = 1 << 28
#: Maximum number of pixels times chosen objects that are searched in the window's thread.
_QUICK = 1 << 22

_shared: WeakKeyDictionary[Labels, ObjectOutlines] = WeakKeyDictionary()


def shared_outlines(viewer: ViewerModel, history: LabelsHistory, user: Hashable) -> ObjectOutlines:
    """Return the shared outlines of a layer; they are removed when every `user` has called `leave`."""
    if history.layer not in _shared:
        _shared[history.layer] = ObjectOutlines(viewer, history)
    _shared[history.layer].join(user)
    return _shared[history.layer]


class ObjectOutlines(QObject):
    """Outlines of objects on the current slice, or their surfaces in the 3-D view.

    They are in a small layer that covers only the objects, so that a large layer is not drawn again. The user's layer
    is not changed.

    Parameters
    ----------
    history : LabelsHistory
        History of the layer with the objects; it reports the edits.
    """

    def __init__(self, viewer: ViewerModel, history: LabelsHistory) -> None:
        super().__init__()
        self._viewer = viewer
        self._history = history
        self._labels = history.layer
        self._ids: tuple[int, ...] = ()
        self._layer = OutlineLayer(viewer, history.layer)
        self._users: set[Hashable] = set()
        self._width = 0
        # One action of the user causes several events here.
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._draw)
        self._latest = NumpyThread()
        self._latest.done.connect(self._computed)
        history.stepped.connect(self._draw_soon)
        for emitter in self._emitters:
            emitter.connect(self._draw_soon)
        self._zoomed.connect(self._on_zoom)
        self._layer.add()

    @property
    def layer(self) -> Labels | None:
        """The layer of outlines; None while no outlines are shown."""
        return None if self._layer.is_empty else self._layer.layer

    def show(self, ids: Sequence[int]) -> None:
        """Outline these objects and no others; the first has its own colour."""
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
            self._layer.release()

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
        if self.layer is not None and self._rim_width() != self._width:
            self._draw_soon()

    def _rim_width(self) -> int:
        """Return the width of an outline in pixels of the layer."""
        return max(1, round(_SCREEN_PIXELS * view_pixel(self._viewer, self._labels)))

    def _draw_soon(self, _event: Any = None) -> None:
        if self._ids or self.layer is not None:
            self._soon.start()

    def _draw(self) -> None:
        found = self._outlining() if self._ids and self._labels.visible else None
        if found is None or self._labels not in self._viewer.layers:
            self._latest.number += 1
            self._layer.clear()
            return
        pixels, work = found
        if pixels * len(self._ids) <= _QUICK:
            self._latest.number += 1
            self._show_found(work())
        else:
            self._latest.ask(work)

    def _computed(self, number: int, found: Any) -> None:
        if number == self._latest.number and self._users and not isinstance(found, Exception):
            self._show_found(found)

    def _show_found(self, found: tuple[NDArray[np.uint8], list[int]] | None) -> None:
        if found is None or self._labels not in self._viewer.layers:
            self._layer.clear()
        else:
            self._layer.show(*found)

    def _displayed(self) -> list[int]:
        """Return the axes of the layer that the viewer displays."""
        offset = self._viewer.dims.ndim - self._labels.ndim
        return [axis - offset for axis in self._viewer.dims.displayed if axis >= offset]

    def _outlining(self) -> tuple[int, Callable[[], tuple[NDArray[np.uint8], list[int]] | None]] | None:
        """Return the number of pixels to search, and a function that returns the outlines and their first pixel."""
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
        if part.size > _MOST_VOXELS:
            return None
        self._width = width = self._rim_width()
        chosen = self._ids

        def work() -> tuple[NDArray[np.uint8], list[int]] | None:
            box = box_of(part, chosen)
            if box is None:
                return None
            shown = [axis for axis, side in enumerate(box) if side.stop - side.start > 1 or axis in displayed]
            around = [2 * width if axis in shown else 0 for axis in range(part.ndim)]
            outlines = _outlines(np.pad(part[box], [(n, n) for n in around]), chosen, width, shown)
            corner = [b.start + r.start - n for b, r, n in zip(box, region, around, strict=True)]
            # Pixels beyond the labels would change the range of the viewer's sliders.
            inside = tuple(
                slice(max(0, -at), min(length, size - at))
                for at, length, size in zip(corner, outlines.shape, data.shape, strict=True)
            )
            return outlines[inside], [max(0, at) for at in corner]

        return part.size, work


def _outlines(ids: NDArray[Any], chosen: Sequence[int], width: int, axes: Sequence[int]) -> NDArray[np.uint8]:
    """Return the rims of all objects at once, `width` pixels wide, each with a halo around it."""
    none = np.iinfo(ids.dtype).max
    own = np.where(np.isin(ids, chosen), ids, ids.dtype.type(0))
    inside = own
    most = own
    least = np.where(own == 0, ids.dtype.type(none), own)
    for _ in range(width):
        same = (_spread(inside, np.maximum, axes) == inside) & (_spread(inside, np.minimum, axes) == inside)
        inside = np.where(same, inside, ids.dtype.type(0))
        most = _spread(most, np.maximum, axes)
        least = _spread(least, np.minimum, axes)
    out = np.zeros(ids.shape, np.uint8)
    out[((most != 0) & (most != own)) | ((least != none) & (least != own))] = HALO_RIM
    rim = (own != 0) & (inside == 0)
    out[rim] = OTHERS
    out[rim & (own == chosen[0])] = FIRST
    return out


def _spread(values: NDArray[Any], take: np.ufunc, axes: Sequence[int]) -> NDArray[Any]:
    """Return, for each pixel, the largest or smallest value among it and its direct neighbours."""
    out = values.copy()
    for axis in axes:
        ahead = tuple(slice(1, None) if i == axis else slice(None) for i in range(values.ndim))
        behind = tuple(slice(None, -1) if i == axis else slice(None) for i in range(values.ndim))
        take(out[behind], values[ahead], out=out[behind])
        take(out[ahead], values[behind], out=out[ahead])
    return out

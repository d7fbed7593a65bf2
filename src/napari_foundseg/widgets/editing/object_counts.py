"""The sizes of a layer's objects, counted in a background thread and updated by every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer

from napari_foundseg.core.editing.object_sizes import Census
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_foundseg.core.editing.difference import Difference

__all__ = ["ObjectCounts"]

#: Greatest number of pixels that are counted in the window's thread on every request: about 2 ms.
_FEW = 1 << 19
#: Milliseconds from the last change of the layer to the next count, since something else may have written into it.
_QUIET = 400
#: Greatest number of objects to list by id; for more, only the number is given.
_NAMED = 5


class ObjectCounts(QObject):
    """The number of pixels of each object of a layer.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer; its data must be a NumPy array.
    """

    def __init__(self, layer: Labels) -> None:
        super().__init__()
        self._layer = layer
        self._census: Census | None = None
        #: Increases with every step.
        self.revision = 0
        self._latest = NumpyThread()
        self._latest.done.connect(self._counting_done)
        self._quiet = QTimer(self)
        self._quiet.setSingleShot(True)
        self._quiet.setInterval(_QUIET)
        self._quiet.timeout.connect(self._count_objects)
        layer.events.set_data.connect(self._count_later)
        self._count_objects()

    @property
    def census(self) -> Census:
        """The current sizes of the objects, after all steps and events of the layer."""
        data = self._layer.data
        if not isinstance(data, np.ndarray):
            return Census({})
        if self._census is None or data.size <= _FEW:
            self._census = Census.of(data)
        return self._census

    def take(self, parts: Iterable[Difference]) -> set[int]:
        """Update the sizes with a step that is already in the array; return the ids that appeared or disappeared."""
        self.revision += 1
        if self._census is None:
            # Not counted yet, and the array already includes the step: reconstruct the sizes before the step.
            parts = list(parts)
            self._census = Census.of(self._layer.data)
            self._census.take([part.reversed() for part in parts])
        return self._census.take(parts)

    def replace(self, census: Census) -> None:
        """Use the sizes after a step, which were computed in a background thread."""
        self.revision += 1
        self._census = census

    def describe(self, turned: set[int]) -> str:
        """Describe the objects that a step has removed or brought back; empty if there are none."""
        census = self.census
        back = set(filter(census.size, turned))
        gone = turned - back
        said = ((gone, "removed"), (back, "is back" if len(back) == 1 else "are back"))
        return "".join(f" {_name_objects(ids)} {what}." for ids, what in said if ids)

    def restart(self) -> None:
        """Count again, because the layer has a new array."""
        self._census = None
        self._count_objects()

    def pause(self) -> None:
        """Follow only the steps, and no other changes of the layer, while nothing needs the sizes."""
        self._quiet.stop()
        self._layer.events.set_data.disconnect(self)

    def resume(self) -> None:
        """Follow all changes of the layer again, after `pause`."""
        self._layer.events.set_data.connect(self._count_later)
        self._count_objects()

    def release(self) -> None:
        """Disconnect from the layer."""
        self.pause()

    def _count_later(self, _event: Any = None) -> None:
        data = self._layer.data
        if isinstance(data, np.ndarray) and data.size > _FEW:
            self._quiet.start()

    def _count_objects(self) -> None:
        array = self._layer.data
        revision = self.revision
        if not isinstance(array, np.ndarray):
            return
        if array.size <= _FEW:
            self._census = Census.of(array)
        else:
            self._latest.ask(lambda: (revision, array, Census.of(array)))

    def _counting_done(self, number: int, result: Any) -> None:
        if number != self._latest.number or isinstance(result, Exception):
            return
        revision, array, census = result
        if revision == self.revision and array is self._layer.data:
            self._census = census
        else:
            self._quiet.start()


def _name_objects(ids: set[int]) -> str:
    if len(ids) > _NAMED:
        return f"{len(ids)} objects"
    return f"Object{'s' if len(ids) > 1 else ''} {', '.join(map(str, sorted(ids)))}"

"""The measurements of a layer's objects, updated while the layer is edited."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.measuring.columns import sizes_by_slice
from napari_foundseg.core.measuring.grey_values import channel_labels, grey_values
from napari_foundseg.core.measuring.measurements import measure, remeasure
from napari_foundseg.widgets.layers.layer_axes import layer_axes
from napari_foundseg.widgets.objects.measurement_columns import object_table, unit_spacing
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels

    from napari_foundseg.core.editing.difference import Difference
    from napari_foundseg.core.editing.history import EditStep
    from napari_foundseg.core.image import Image
    from napari_foundseg.widgets.editing.labels_history import LabelsHistory

__all__ = ["Measurements", "shared_measurements"]

_shared: WeakKeyDictionary[Labels, Measurements] = WeakKeyDictionary()


def shared_measurements(history: LabelsHistory, user: Hashable) -> Measurements:
    """Return the shared measurements of a layer; they are released when every `user` has called `leave`."""
    if history.layer not in _shared:
        _shared[history.layer] = Measurements(history)
    _shared[history.layer].join(user)
    return _shared[history.layer]


class Measurements(QObject):
    """The object table of one Labels layer; after an edit, only the objects that it touched are measured again.

    Parameters
    ----------
    history : LabelsHistory
        History of the layer; it reports the edits.
    """

    #: The table has changed.
    changed = Signal()
    #: The objects could not be measured; the reason.
    failed = Signal(str)

    def __init__(self, history: LabelsHistory) -> None:
        super().__init__()
        self.layer = history.layer
        self._history = history
        self._image: Image | None = None
        self._array = self.layer.data
        self._measured: pd.DataFrame | None = None
        self._table: pd.DataFrame | None = None
        #: The features in the table that is being made; None if they have changed since.
        self._facts: pd.DataFrame | None = None
        #: The edits since the last measurement.
        self._edited: list[Difference] = []
        self._all = True
        #: Axes, sizes and unit of the pixels in the last measurement.
        self._measured_in: Any = None
        self._busy = False
        self._users: set[Hashable] = set()
        self._latest = NumpyThread("measure")
        self._slices = NumpyThread("measure slices")
        self._latest.done.connect(self._measuring_done)
        history.stepped.connect(self._record_step)
        self.layer.events.data.connect(self._on_new_array)
        self.layer.events.features.connect(self._forget_table)
        for emitter in self._transforms:
            emitter.connect(self._on_transform)

    @property
    def table(self) -> pd.DataFrame | None:
        """One row per object, as from `measurement_columns.object_table`; None until the objects are measured."""
        if self._table is None and self._measured is not None:
            self._table = object_table(self._measured, self.layer.features)
        return self._table

    @property
    def current(self) -> bool:
        """Whether the table includes all edits."""
        return not (self._busy or self._all or self._edited) and self._measured_in == self._unit_of_layer()

    def use_image(self, image: Image | None) -> None:
        """Measure the intensities of an image, if it fits the labels."""
        old = self._image
        self._image = image
        if (old is None) != (image is None) or (old and image and old.levels[0] is not image.levels[0]):
            self._all = True
            self._measure_outdated()

    def measure_slices(self, done: Callable[[Any], None]) -> None:
        """Measure each slice of each object in a background thread, and call `done` with the table or the exception."""
        labels, image = self.layer.data, self._image
        axes, spacing, unit = self._unit_of_layer()

        def work() -> pd.DataFrame:
            grey = None if image is None else grey_values(image, labels.shape)
            names = () if image is None else channel_labels(image)
            return measure(labels, axes, sizes_by_slice(axes, spacing), unit, grey, channels=names)

        self._slices = NumpyThread("measure slices")
        self._slices.done.connect(lambda _number, table: done(table))
        self._slices.ask(work)

    @property
    def has_slices(self) -> bool:
        """Whether the layer has slices: more than two axes along which objects extend."""
        return sum(size is not None for size in self._unit_of_layer()[1]) > 2

    def join(self, user: Hashable) -> None:
        """Register a user of the table."""
        self._users.add(user)
        self._measure_outdated()

    def leave(self, user: Hashable) -> None:
        """Unregister a user; the last one disconnects from the layer. Leaving twice does nothing."""
        if user not in self._users:
            return
        self._users.remove(user)
        if not self._users:
            _shared.pop(self.layer, None)
            self._history.stepped.disconnect(self._record_step)
            self.layer.events.data.disconnect(self)
            self.layer.events.features.disconnect(self)
            for emitter in self._transforms:
                emitter.disconnect(self._on_transform)

    @property
    def _transforms(self) -> list[Any]:
        events = self.layer.events
        return [events.scale, events.units, events.axis_labels]

    def _unit_of_layer(self) -> Any:
        return (layer_axes(self.layer), *unit_spacing(self.layer))

    def _on_transform(self, _event: Any = None) -> None:
        """Measure all objects again if the pixels have a new size or unit: a table has one unit."""
        if self._measured_in != self._unit_of_layer():
            self._measure_outdated()
            # Prevents deletions by outdated measurements in another unit.
            self.changed.emit()

    def _record_step(self, step: EditStep) -> None:
        self._edited += step.parts
        self._measure_outdated()
        if not self._busy and self._table is None:
            self.changed.emit()

    def _on_new_array(self, _event: Any = None) -> None:
        if self.layer.data is not self._array:
            self._array = self.layer.data
            self._all = True
            self._measure_outdated()

    def _forget_table(self, _event: Any = None) -> None:
        self._table = self._facts = None
        # The step that follows outdates the table, which takes long to make for many objects.
        if not self._history.step_follows:
            self.changed.emit()

    def _measure_outdated(self) -> None:
        """Measure outdated objects, with one request at a time, so that results arrive in order."""
        if self._busy or self.current:
            return
        self._busy = True
        labels = self.layer.data
        image = self._image
        measured_in = axes, spacing, unit = self._unit_of_layer()
        old = None if self._all or measured_in != self._measured_in else self._measured
        self._measured_in = measured_in
        edited = self._edited
        self._all, self._edited = False, []
        self._facts = facts = self.layer.features

        def work() -> tuple[pd.DataFrame, pd.DataFrame]:
            measured = measured_again()
            return measured, object_table(measured, facts)

        def measured_again() -> pd.DataFrame:
            grey = None if image is None else grey_values(image, labels.shape)
            names = () if image is None else channel_labels(image)
            if old is None:
                return measure(labels, axes, spacing, unit, grey, channels=names)
            ids = {label for part in edited for label in part.ids if label}
            return remeasure(old, labels, axes, spacing, unit, grey, ids, [part.box for part in edited], names)

        self._latest.ask(work)

    def _measuring_done(self, _number: int, result: Any) -> None:
        self._busy = False
        self._table = None
        if isinstance(result, Exception):
            # All objects are measured again after the next edit.
            self._all = True
            self._measured = None
            self.failed.emit(f"The objects could not be measured ({result}). The next edit tries again.")
        else:
            self._measured, table = result
            # The table is made here again if the features have changed meanwhile.
            self._table = table if self.layer.features is self._facts else None
            self._measure_outdated()
        self.changed.emit()

"""The axis along which objects are followed, and the range of slices."""

from __future__ import annotations

from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QComboBox, QSpinBox, QVBoxLayout, QWidget

from napari_foundseg.core.image import Image
from napari_foundseg.widgets.controls.rows import labelled_row

__all__ = ["SliceRange"]

_NAMES = {"Z": "Z (slices)", "T": "T (time)", "Q": "Q"}


class SliceRange(QWidget):
    """A choice of the axis, if there are several, and of the first and last slice."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._lengths: dict[str, int] = {}
        self.axis_choice = QComboBox()
        self.axis_choice.setAccessibleName("Axis")
        self.axis_choice.setToolTip(
            "The axis to follow objects along: Z through the slices of the time point, T through time at the slice."
        )
        self.first = QSpinBox()
        self.last = QSpinBox()
        for box, name in ((self.first, "First slice"), (self.last, "Last slice")):
            box.setAccessibleName(name)
            box.setToolTip(f"{name} of the range, counted from 0 as below the canvas; it is included.")
            box.valueChanged.connect(self.changed)
        self._axis_row = labelled_row("Axis", self.axis_choice)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._axis_row)
        layout.addWidget(labelled_row("First slice", self.first))
        layout.addWidget(labelled_row("Last slice", self.last))
        self.axis_choice.currentIndexChanged.connect(self._show_range)

    @property
    def axis(self) -> str | None:
        """The chosen axis; None if the image has none."""
        chosen = self.axis_choice.currentData()
        return None if chosen is None else str(chosen)

    @property
    def count(self) -> int:
        """Number of slices along the axis."""
        return self._lengths.get(self.axis or "", 0)

    def show_image(self, image: Image | None) -> None:
        """Offer the axes of an image."""
        shape = {} if image is None else dict(zip(image.slice_axes, image.slice_shape, strict=True))
        lengths = {axis: n for axis, n in shape.items() if n > 1}
        if lengths == self._lengths:
            return
        self._lengths = lengths
        self.axis_choice.blockSignals(True)
        self.axis_choice.clear()
        # Z comes first: a film of stacks is followed through each stack, unless the user chooses time.
        for axis in sorted(lengths, key="ZTQ".find):
            self.axis_choice.addItem(f"{_NAMES.get(axis, axis)}, {lengths[axis]}", axis)
        self.axis_choice.blockSignals(False)
        self._axis_row.setVisible(len(lengths) > 1)
        self._show_range()

    def _show_range(self) -> None:
        last = max(0, self.count - 1)
        for box, value in ((self.first, 0), (self.last, last)):
            box.blockSignals(True)
            box.setRange(0, last)
            box.setValue(value)
            box.blockSignals(False)
        self.changed.emit()

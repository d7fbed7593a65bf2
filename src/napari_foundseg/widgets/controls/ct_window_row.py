"""The CT window of an image: presets, level and width; the layer is displayed with the same window."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from napari.layers import Image as ImageLayer
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QPushButton, QSizePolicy, QWidget

from napari_foundseg.core.contrast import CTWindow
from napari_foundseg.widgets.controls.rows import wrapping_label

__all__ = ["PRESETS", "CTWindowRow"]

#: Level and width in Hounsfield units, as on radiology workstations.
PRESETS = {
    "Soft tissue, abdomen": (40, 400),
    "Liver": (60, 160),
    "Mediastinum": (50, 350),
    "Lung": (-600, 1500),
    "Bone": (400, 1800),
    "Brain": (40, 80),
    "Subdural": (75, 215),
    "Stroke": (40, 40),
    "Spine": (50, 250),
    "Angiography": (300, 600),
}
_OWN = "Own values"


class CTWindowRow(QWidget):
    """Presets, level and width of a CT window.

    While it is active, the followed layer is displayed with the window too. A button restores the earlier display, and
    the user may change the display at any time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._layer: ImageLayer | None = None
        self._active = False
        #: The contrast limits of layers before the window was applied.
        self._before: WeakKeyDictionary[ImageLayer, tuple[float, float]] = WeakKeyDictionary()
        self.preset = QComboBox()
        self.preset.addItems([*PRESETS, _OWN])
        self.preset.setAccessibleName("Preset")
        self.preset.setToolTip(
            "A CT window for a tissue. Level is the middle of the shown values, width how many are shown."
        )
        self.preset.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.preset.setMinimumContentsLength(8)
        self.level_box = _make_box("Level", -9_999, "Higher values make the picture darker.")
        self.width_box = _make_box("Width", 1, "Higher values show more tissues with less contrast between them.")
        self.words = wrapping_label("")
        self.button = QPushButton()
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(self.preset)
        form.addRow("Level", self.level_box)
        form.addRow("Width", self.width_box)
        form.addRow(self.words)
        form.addRow(self.button)
        self._use_preset(self.preset.currentText())
        self.preset.currentTextChanged.connect(self._use_preset)
        for box in (self.level_box, self.width_box):
            box.valueChanged.connect(self._values_changed)
        self.button.clicked.connect(self._change_display)
        self.hide()

    @property
    def chosen_window(self) -> CTWindow:
        """The CT window from the boxes of level and width."""
        return CTWindow(level=self.level_box.value(), width=self.width_box.value())

    def activate(self, active: bool) -> None:
        """Show the controls and display the layer with the window, or hide them and restore the display."""
        if active == self._active:
            return
        self._active = active
        self.setVisible(active)
        if active:
            self._display()
        else:
            self._restore()

    def follow(self, layer: ImageLayer | None) -> None:
        """Follow another layer; display it with the window if the controls are active and in view."""
        if self._layer is not None:
            self._layer.events.contrast_limits.disconnect(self._show_state)
        self._layer = layer
        if layer is not None:
            layer.events.contrast_limits.connect(self._show_state)
        if self._active and not self.visibleRegion().isEmpty():
            self._display()
        self._show_state()

    @property
    def _limits(self) -> tuple[float, float]:
        window = self.chosen_window
        return window.level - window.width / 2, window.level + window.width / 2

    @property
    def _displayed(self) -> bool:
        """Whether the layer is displayed with the window."""
        return self._layer is not None and tuple(map(float, self._layer.contrast_limits)) == self._limits

    def _use_preset(self, name: str) -> None:
        if name not in PRESETS:
            self.level_box.setFocus()
            return
        for box, value in zip((self.level_box, self.width_box), PRESETS[name], strict=True):
            box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(False)
        self._values_changed()

    def _values_changed(self, _value: Any = None) -> None:
        values = (self.level_box.value(), self.width_box.value())
        self.preset.blockSignals(True)
        self.preset.setCurrentText(next((name for name, preset in PRESETS.items() if preset == values), _OWN))
        self.preset.blockSignals(False)
        if self._active:
            self._display()

    def _display(self) -> None:
        """Display the layer with the window, and remember its earlier contrast limits."""
        layer = self._layer
        if layer is not None and not layer.rgb and not self._displayed:
            low, high = layer.contrast_limits
            self._before.setdefault(layer, (float(low), float(high)))
            layer.contrast_limits = self._limits
        self._show_state()

    def _restore(self) -> None:
        """Restore the earlier contrast limits, unless the user has changed the display since."""
        if self._layer is not None and self._displayed and self._layer in self._before:
            self._layer.contrast_limits = self._before.pop(self._layer)

    def _change_display(self) -> None:
        if self._displayed:
            self._restore()
        else:
            self._display()

    def _show_state(self, _event: Any = None) -> None:
        """Say how the layer is displayed, and offer the other display."""
        layer = self._layer
        usable = layer is not None and not layer.rgb
        self.button.setVisible(usable and (not self._displayed or layer in self._before))
        if layer is None:
            self.words.setText("")
        elif layer.rgb:
            self.words.setText("A colour image is displayed as it is.")
        elif self._displayed:
            low, high = self._limits
            self.words.setText(f"{layer.name!r} is displayed in this window, too ({low:g} to {high:g} HU).")
            self.button.setText("Display as before")
            self.button.setToolTip(
                "Give the layer the contrast limits that it had. The model goes on with the CT window."
            )
        else:
            low, high = layer.contrast_limits
            self.words.setText(f"The model gets this window; {layer.name!r} is displayed from {low:g} to {high:g}.")
            self.button.setText("Display in this window")
            self.button.setToolTip("Set the layer's contrast limits to what the model gets.")


def _make_box(name: str, least: float, effect: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(least, 32_767)
    box.setDecimals(0)
    box.setAccessibleName(name)
    box.setToolTip(f"{name} of the CT window in Hounsfield units. {effect}")
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box

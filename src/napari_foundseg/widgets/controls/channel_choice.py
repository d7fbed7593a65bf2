"""The channel of an image that is used: the one that the viewer shows, or others that the user chooses."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from napari_foundseg.widgets.controls.elided_combo import ElidedCombo
from napari_foundseg.widgets.layers.shown_channel import channel_names, shown_channel

__all__ = ["ChannelChoice"]

#: Data of the entries that are no channel.
_SHOWN, _SEVERAL = -1, -2


class ChannelChoice(QWidget):
    """A choice among the channels of a layer; hidden for layers without several.

    By default the channel in view is used, and the first entry names it while the slider moves.

    Parameters
    ----------
    offered : bool
        Whether it is shown at all.
    """

    #: Other channels are used from now on.
    changed = Signal()
    #: The user has chosen an entry or typed channels.
    picked = Signal()

    def __init__(self, viewer: ViewerModel, *, offered: bool = True) -> None:
        super().__init__()
        self._viewer = viewer
        self._offered = offered
        self._layer: ImageLayer | None = None
        self._axis: int | None = None
        self._used: Any = None
        self.combo = ElidedCombo(8)
        self.combo.setAccessibleName("Channel")
        self.combo.setToolTip(
            "The channel that is segmented. Channel shown: the one in view, which the slider below the canvas chooses. "
            "Choose another to use it whatever is in view, or several, which the model sees as red, green and blue."
        )
        self.text = QLineEdit()
        self.text.setAccessibleName("Several channels")
        self.text.setPlaceholderText("such as 0, 2 or DAPI, GFP")
        self.text.setToolTip(
            "One to three channels, by name or by number from 0, with commas between them. Several are shown to the "
            "model as red, green and blue."
        )
        self.text.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.combo)
        layout.addWidget(self.text)
        self.combo.currentIndexChanged.connect(self._update_used)
        self.combo.activated.connect(lambda _at: self.picked.emit())
        self.text.editingFinished.connect(self._typed)
        self._connect_viewer(True)
        self.hide()

    def show_layer(self, layer: ImageLayer | None, axes: str) -> None:
        """Offer the channels of a layer, whose axes have these letters; a channel that the user chose stays chosen."""
        count = 0
        self._layer, self._axis = layer, None
        if layer is not None and "C" in axes and not (layer.rgb and len(axes) > layer.ndim):
            self._axis = axes.index("C")
            count = int((layer.data[0] if layer.multiscale else layer.data).shape[self._axis])
        chosen = self.combo.currentData()
        self.combo.blockSignals(True)
        self.combo.clear()
        if count > 1 and layer is not None:
            names = channel_names(layer, count)
            self.combo.addItem("", _SHOWN)
            for number in range(count):
                self.combo.addItem(f"Channel: {_entry(names, number)}", number)
            self.combo.addItem("Several channels…", _SEVERAL)
            self.combo.setCurrentIndex(max(0, self.combo.findData(chosen)))
        else:
            self._axis = None
        self.combo.blockSignals(False)
        self.setVisible(self._offered and self._axis is not None)
        self._update_used()

    def channels(self) -> tuple[int | str, ...] | None:
        """Return the channels to use, by number or name; None where there is nothing to choose among."""
        if self._layer is None or self._axis is None:
            return None
        chosen = self.combo.currentData()
        if chosen == _SEVERAL:
            return tuple(part.strip() for part in self.text.text().split(",") if part.strip()) or None
        if chosen == _SHOWN:
            shown = shown_channel(self._viewer, self._layer, self._axis)
            return (0 if shown is None else shown,)
        return (int(chosen),)

    def disconnect_viewer(self) -> None:
        """Stop following the viewer."""
        self._connect_viewer(False)

    def _connect_viewer(self, on: bool) -> None:
        for emitter in (self._viewer.dims.events.current_step, self._viewer.dims.events.order,
                        self._viewer.dims.events.ndisplay):  # fmt: skip
            emitter.connect(self._update_used) if on else emitter.disconnect(self._update_used)

    def _typed(self) -> None:
        self._update_used()
        self.picked.emit()

    def _update_used(self, _event: Any = None) -> None:
        """Name the channel in view, and report other channels than before."""
        self.text.setVisible(self.combo.currentData() == _SEVERAL)
        layer, axis = self._layer, self._axis
        if layer is not None and axis is not None:
            shown = shown_channel(self._viewer, layer, axis)
            entry = _entry(channel_names(layer, self.combo.count() - 2), shown or 0)
            self.combo.setItemText(0, f"Channel: {entry}, all shown" if shown is None else f"Channel shown: {entry}")
        used = layer, self.channels()
        if used != self._used:
            self._used = used
            self.changed.emit()


def _entry(names: tuple[str, ...], number: int) -> str:
    count = len(names)
    return f"{names[number]} ({number + 1} of {count})" if names[number] else f"{number + 1} of {count}"

"""The choice of an image's channels: the one in view, the one derived from the colours, or chosen ones."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from napari_foundseg.core.pixels.channels import COLOURS
from napari_foundseg.core.pixels.colour import ColourRule, FoundColour
from napari_foundseg.widgets.controls.elided_combo import ElidedCombo
from napari_foundseg.widgets.controls.rows import wrapping_label
from napari_foundseg.widgets.layers.layer_colour import ask_colour, known_colour, settle_colour
from napari_foundseg.widgets.layers.shown_channel import channel_names, shown_channel

__all__ = ["ChannelChoice"]

#: Data of the entries that are not channels.
_SHOWN, _SEVERAL, _AUTOMATIC, _RGB = -1, -2, -3, -4
#: Data of the entry red; green and blue follow. Not channel numbers, because an entry stays chosen on other layers.
_RED = 100


class ChannelChoice(QWidget):
    """A choice among the channels of a layer; hidden if the layer does not have several.

    By default the channel in view is used, and the first entry names it while the slider moves. For an RGB layer, the
    colours decide; they are measured in a background thread and described in words.

    Parameters
    ----------
    offered : bool
        Whether the choice is ever shown.
    """

    #: The channels to use have changed.
    changed = Signal()
    #: The user has chosen an entry or typed channels.
    picked = Signal()
    _measured = Signal(object)

    def __init__(self, viewer: ViewerModel, *, offered: bool = True) -> None:
        super().__init__()
        self._viewer = viewer
        self._offered = offered
        self._layer: ImageLayer | None = None
        self._axis: int | None = None
        self._used: Any = None
        self._rule: ColourRule = "RGB"
        self.combo = ElidedCombo(8)
        self.combo.setAccessibleName("Channel")
        self.combo.setToolTip(
            "The channel that is segmented. Channel shown: the one in view, which the slider below the canvas chooses. "
            "Choose another to use it whatever is in view, or several, which the model sees as red, green and blue. "
            "Of a colour image, automatic: a picture of one colour on black is used as a grey one, and of the dyes of "
            "a fluorescence image the one that shows nuclei or cells; stained tissue and photographs stay RGB."
        )
        self.text = QLineEdit()
        self.text.setAccessibleName("Several channels")
        self.text.setPlaceholderText("such as 0, 2 or DAPI, GFP")
        self.text.setToolTip(
            "One to three channels, by name or by number from 0, with commas between them. Several are shown to the "
            "model as red, green and blue."
        )
        self.text.hide()
        self.words = wrapping_label("")
        self.words.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.combo)
        layout.addWidget(self.text)
        layout.addWidget(self.words)
        self.combo.currentIndexChanged.connect(self._update_used)
        self.combo.activated.connect(lambda _at: self.picked.emit())
        self.text.editingFinished.connect(self._typed)
        self._measured.connect(self._show_measured)
        self._connect_viewer(True)
        self.hide()

    def show_layer(self, layer: ImageLayer | None, axes: str) -> None:
        """Offer the channels of a layer; a channel that the user chose stays chosen.

        `axes` holds one letter for each axis of the layer.
        """
        count = 0
        self._layer, self._axis = layer, None
        if layer is not None and "C" in axes and not (layer.rgb and len(axes) > layer.ndim):
            self._axis = axes.index("C")
            count = int((layer.data[0] if layer.multiscale else layer.data).shape[self._axis])
        if layer is not None and layer.rgb and "C" in axes:
            self._offer_colours(layer)
            return
        self.words.hide()
        self.combo.show()
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

    def use_rule(self, rule: ColourRule) -> None:
        """Set how a model and a method use the colours of an RGB layer, and show the resulting channel."""
        self._rule = rule
        if self._layer is not None and self._layer.rgb:
            self._offer_colours(self._layer)

    def colour(self) -> FoundColour | None:
        """Return the measured colours of an RGB layer; None if they do not matter or are not measured yet."""
        return known_colour(self._layer) if self._layer is not None and self._measures else None

    def settle(self, seconds: float) -> None:
        """Wait until the colours of the layer are measured, if they matter; raise the errors of `settle_colour`."""
        if self._layer is not None and self._measures:
            settle_colour(self._layer, seconds)

    @property
    def _measures(self) -> bool:
        """Whether the channel is derived from the colours of an RGB layer."""
        automatic = self.combo.currentData() in (None, _AUTOMATIC)
        return self._layer is not None and bool(self._layer.rgb) and self._rule != "RGB" and automatic

    def channels(self) -> tuple[int | str, ...] | None:
        """Return the channels to use, by number or name; None if there is no choice or the colours decide."""
        chosen = self.combo.currentData()
        if self._layer is not None and chosen is not None and (chosen in (_AUTOMATIC, _RGB) or chosen >= _RED):
            automatic = chosen == _AUTOMATIC or not _differ(known_colour(self._layer))
            return None if automatic else (0, 1, 2) if chosen == _RGB else (int(chosen) - _RED,)
        if self._layer is None or self._axis is None:
            return None
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

    def _offer_colours(self, layer: ImageLayer) -> None:
        """Offer the colours of an RGB layer, and describe them as soon as they are measured."""
        asked = ask_colour(layer)
        if asked is not None and not asked.done():
            asked.add_done_callback(lambda _done: self._tell(layer))
        found = known_colour(layer)
        chosen = self.combo.currentData()
        used = "RGB" if found is None else found.used_as(self._rule).name
        names = {dye.channel: dye.name for dye in found.dyes} if found is not None and found.kind == "dyes" else {}
        self.combo.blockSignals(True)
        self.combo.clear()
        self.combo.addItem(f"Automatic: {used}", _AUTOMATIC)
        self.combo.addItem("RGB", _RGB)
        for number, name in enumerate(COLOURS[:3]):
            dye = names.get(number, name)
            self.combo.addItem(name.capitalize() if dye == name else f"{dye.capitalize()} ({name})", _RED + number)
        self.combo.setCurrentIndex(max(0, self.combo.findData(chosen)))
        self.combo.blockSignals(False)
        self.combo.setVisible(_differ(found))
        self.setVisible(self._offered and found is not None and (_differ(found) or bool(found.hidden)))
        self._update_used()

    def _tell(self, layer: ImageLayer) -> None:
        """Hand the measurement over to the window's thread."""
        # The form may have been closed.
        with suppress(RuntimeError):
            self._measured.emit(layer)

    def _show_measured(self, layer: ImageLayer) -> None:
        if layer is self._layer and known_colour(layer) is not None:
            self._offer_colours(layer)

    def _typed(self) -> None:
        self._update_used()
        self.picked.emit()

    def _update_used(self, _event: Any = None) -> None:
        """Name the channel in view, and report a change of the channels to use."""
        self.text.setVisible(self.combo.currentData() == _SEVERAL)
        layer, axis = self._layer, self._axis
        found = None if layer is None or not layer.rgb else known_colour(layer)
        if found is not None:
            used = found.used_as(self._rule)
            self.words.setText(" ".join(filter(None, (used.why if self._measures else "", used.hidden))))
        self.words.setVisible(found is not None and bool(self.words.text()))
        if layer is not None and axis is not None:
            shown = shown_channel(self._viewer, layer, axis)
            entry = _entry(channel_names(layer, self.combo.count() - 2), shown or 0)
            self.combo.setItemText(0, f"Channel: {entry}, all shown" if shown is None else f"Channel shown: {entry}")
        now = layer, self.channels()
        if now != self._used:
            self._used = now
            self.changed.emit()


def _differ(found: FoundColour | None) -> bool:
    """Tell whether red, green and blue were found to differ, so that there is a choice."""
    return found is not None and (found.kind != "grey" or len(found.channels) == 1)


def _entry(names: tuple[str, ...], number: int) -> str:
    count = len(names)
    return f"{names[number]} ({number + 1} of {count})" if names[number] else f"{number + 1} of {count}"

"""A combo box with the layers of one type, which follows the viewer."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_foundseg.widgets.controls.elided_combo import ElidedCombo
from napari_foundseg.widgets.layers.layer_tags import TOOL

__all__ = ["LayerChoice"]


#: Placeholder texts of an empty choice.
_EMPTY = {"Image": "Open an image first", "Labels": "Add a Labels layer first"}


class LayerChoice(QWidget):
    """A combo box of layers of one type; by default it follows the active layer.

    Parameters
    ----------
    follow : bool
        Whether to choose the layer that becomes active.
    none : str, optional
        Text of a first entry that means no layer.
    """

    #: Another layer was chosen, or none.
    changed = Signal()
    #: The user has chosen an entry, even if it was already chosen.
    picked = Signal()

    def __init__(
        self, viewer: ViewerModel, kind: type, help_text: str, *, follow: bool = True, none: str | None = None
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._kind = kind
        self._follows = follow
        self._none = [] if none is None else [none]
        self._layers: list[Any] = []
        self.combo = ElidedCombo(8, Qt.TextElideMode.ElideMiddle)
        self.combo.setToolTip(help_text)
        self.combo.setAccessibleName(kind.__name__)
        self.combo.setPlaceholderText(_EMPTY.get(kind.__name__, f"Add a {kind.__name__} layer first"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.combo)
        self.combo.currentIndexChanged.connect(self._emit_changed)
        self.combo.activated.connect(lambda _at: self.picked.emit())
        self._connect_viewer(True)
        self._list_layers()
        self._follow_active()

    @property
    def layer(self) -> Any:
        """The chosen layer; None if there is none."""
        at = self.combo.currentIndex() - len(self._none)
        return self._layers[at] if 0 <= at < len(self._layers) else None

    def show_layer(self, layer: Any) -> None:
        """Choose a listed layer; any other value chooses the entry for no layer, if there is one."""
        if layer in self._layers:
            self.combo.setCurrentIndex(self._layers.index(layer) + len(self._none))
        elif self._none:
            self.combo.setCurrentIndex(0)

    def disconnect_viewer(self) -> None:
        """Stop following the viewer."""
        self._connect_viewer(False)
        for layer in self._layers:
            layer.events.name.disconnect(self)

    def _connect_viewer(self, on: bool) -> None:
        layers = self._viewer.layers
        for emitter, callback in (
            (layers.events.inserted, self._list_layers),
            (layers.events.removed, self._list_layers),
            (layers.events.reordered, self._list_layers),
            (layers.selection.events.active, self._follow_active),
        ):
            emitter.connect(callback) if on else emitter.disconnect(self)

    def _list_layers(self, _event: Any = None) -> None:
        chosen = self.layer
        for layer in self._layers:
            layer.events.name.disconnect(self)
        listed = [layer for layer in self._viewer.layers if TOOL not in layer.metadata]
        self._layers = [layer for layer in listed if type(layer) is self._kind]
        for layer in self._layers:
            layer.events.name.connect(self._update_names)
        self.combo.blockSignals(True)
        self.combo.clear()
        self.combo.addItems([*self._none, *(layer.name for layer in self._layers)])
        # With a placeholder, Qt does not choose an entry automatically.
        self.combo.setCurrentIndex(0 if self.combo.count() else -1)
        if chosen in self._layers:
            self.show_layer(chosen)
        self.combo.blockSignals(False)
        if self.layer is not chosen:
            self._emit_changed()

    def _update_names(self, _event: Any = None) -> None:
        for i, layer in enumerate(self._layers, len(self._none)):
            self.combo.setItemText(i, layer.name)

    def _follow_active(self, _event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if self._follows and active in self._layers:
            self.show_layer(active)

    def _emit_changed(self, _at: int = 0) -> None:
        self.changed.emit()

"""A line that says where clicks and keys go while they do not choose objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel, QSizePolicy

from napari_foundseg.widgets.layers.proxies import unwrapped

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

__all__ = ["ClickHint"]

#: Modes of a Labels layer in which a click chooses an object.
_CHOOSING = ("pan_zoom", "pick")


class ClickHint(QLabel):
    """Shown while a click on the canvas chooses no object, since another layer or a tool of napari is selected."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._layer: Labels | None = None
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.hide()

    def follow(self, layer: Labels) -> None:
        """Show the hint whenever clicks do not go to this layer."""
        self._layer = layer
        self._viewer.layers.selection.events.active.connect(self._show_where)
        layer.events.mode.connect(self._show_where)
        self._show_where()

    def leave(self) -> None:
        """Stop following the layer, and hide the hint."""
        if self._layer is not None:
            self._viewer.layers.selection.events.active.disconnect(self._show_where)
            self._layer.events.mode.disconnect(self._show_where)
            self._layer = None
        self.hide()

    def _show_where(self, _event: Any = None) -> None:
        layer = self._layer
        if layer is None:
            return
        active = unwrapped(self._viewer.layers.selection.active)
        words = ""
        if active is not layer:
            where = "no layer" if active is None else repr(active.name)
            words = f"Clicks and keys go to {where}. To click objects, select {layer.name!r} in the layer list."
        elif layer.mode not in _CHOOSING:
            words = f"Clicks {layer.mode}. To click objects, choose the arrows in the layer controls (pan/zoom mode)."
        self.setText(words)
        self.setVisible(bool(words))

"""Detection of whether a layer is still in any viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_foundseg.widgets.layers.proxies import open_viewers

__all__ = ["LayerPresence"]


class LayerPresence:
    """A watch that reports when a layer is no longer in any viewer; a layer may be moved between viewers.

    Parameters
    ----------
    layer : napari.layers.Layer
        The layer.
    gone : callable
        Called when the last viewer has removed the layer, if the viewers are being watched.
    """

    def __init__(self, layer: Any, gone: Callable[[], None]) -> None:
        self._layer = layer
        self._gone = gone
        self._viewers: list[Any] = []

    @property
    def is_watched(self) -> bool:
        """Whether the viewers are being watched."""
        return bool(self._viewers)

    def watch(self) -> bool:
        """Start watching; return whether the layer is in any viewer."""
        self.forget()
        self._viewers = [viewer for viewer in open_viewers() if self._layer in viewer.layers]
        for viewer in self._viewers:
            viewer.layers.events.removed.connect(self._on_removed)
        return bool(self._viewers)

    def forget(self) -> None:
        """Stop watching."""
        for viewer in self._viewers:
            viewer.layers.events.removed.disconnect(self)
        self._viewers = []

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer and not self.watch():
            self._gone()

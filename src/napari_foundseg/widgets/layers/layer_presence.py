"""Whether a layer is still in any viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_foundseg.widgets.layers.proxies import open_viewers

__all__ = ["LayerPresence"]


class LayerPresence:
    """Tells when a layer is in no viewer any more; a layer may be moved from one to another.

    Parameters
    ----------
    layer : napari.layers.Layer
        The layer.
    gone : callable
        Called once it is in no viewer any more, while this watches.
    """

    def __init__(self, layer: Any, gone: Callable[[], None]) -> None:
        self._layer = layer
        self._gone = gone
        self._viewers: list[Any] = []

    @property
    def is_watched(self) -> bool:
        """Whether this watches the viewers."""
        return bool(self._viewers)

    def watch(self) -> bool:
        """Watch from now on; return whether the layer is in any viewer."""
        self.forget()
        self._viewers = [viewer for viewer in open_viewers() if self._layer in viewer.layers]
        for viewer in self._viewers:
            viewer.layers.events.removed.connect(self._on_removed)
        return bool(self._viewers)

    def forget(self) -> None:
        """Watch no longer."""
        for viewer in self._viewers:
            viewer.layers.events.removed.disconnect(self)
        self._viewers = []

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer and not self.watch():
            self._gone()

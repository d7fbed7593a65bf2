"""The object under the pointer, on which keys act if no object is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

__all__ = ["pointed_object"]


def pointed_object(viewer: Viewer, layer: Labels) -> int:
    """Return the object of a layer under the pointer's last position on the canvas; 0 if there is none."""
    if viewer.dims.ndisplay != 2:
        return 0
    value = layer.get_value(viewer.cursor.position, dims_displayed=list(viewer.dims.displayed), world=True)
    return int(value or 0)

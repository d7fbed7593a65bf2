"""Keys in the metadata of napari's layers by which the plugin knows its own."""

from __future__ import annotations

__all__ = ["TOOL"]


#: In the metadata of layers that are tools, such as previews: they are nobody's to work on.
TOOL = "foundseg tool"

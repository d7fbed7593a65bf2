"""Keys in the metadata of layers by which the plugin recognises its own."""

from __future__ import annotations

__all__ = ["CHANNEL_NAMES", "TOOL"]


#: Marks layers that are tools, such as previews: forms do not offer them.
TOOL = "foundseg tool"
#: The names of an image's channels, in their order.
CHANNEL_NAMES = "foundseg channel names"

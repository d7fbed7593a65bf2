"""Metadata keys by which the plugin recognises its own layers."""

from __future__ import annotations

__all__ = ["TOOL"]


#: Marks layers that are tools, such as previews: forms do not offer them.
TOOL = "foundseg tool"

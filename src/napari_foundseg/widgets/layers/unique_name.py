"""Unique names for new layers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import LayerList


__all__ = ["unique_name"]


def unique_name(layers: LayerList, name: str) -> str:
    """Return a name that is not yet used by a layer: `name`, or `name` with a number."""
    taken = {layer.name for layer in layers}
    return next(n for n in itertools.chain([name], (f"{name} [{i}]" for i in itertools.count(1))) if n not in taken)

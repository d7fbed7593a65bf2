"""CLIP models on this computer, for files that hold a part of a network that works on CLIP's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from napari_foundseg.models.catalog import CatalogRow, catalog
from napari_foundseg.models.store import locate

__all__ = ["clip_folders"]


def clip_folders() -> Iterator[tuple[CatalogRow, Path]]:
    """Return the CLIP models of the catalogue that are here, and their folders."""
    for row in catalog().values():
        if row.family == "clip" and row.options.get("architecture") == "CLIPModel":
            path = locate(row)
            if path is not None and path.is_dir():
                yield row, path

"""CLIP models that are installed, for files that hold only the part of a network that uses CLIP's features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from napari_foundseg.models.catalog import CatalogRow, catalog
from napari_foundseg.models.store import locate

__all__ = ["clip_folders"]


def clip_folders() -> Iterator[tuple[CatalogRow, Path]]:
    """Yield the rows of the catalogue whose CLIP is installed as a folder, with that folder."""
    for row in catalog().values():
        if row.family == "clip" and row.options.get("architecture") == "CLIPModel":
            path = locate(row)
            if path is not None and path.is_dir():
                yield row, path

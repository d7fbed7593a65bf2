"""Options of catalogue rows, which users may have edited."""

from __future__ import annotations

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow

__all__ = ["LARGEST_SIDE", "whole_number"]

#: Largest side that pictures may be resized to, in pixels.
LARGEST_SIDE = 4096


def whole_number(row: CatalogRow, name: str, default: int, *, least: int, most: int = LARGEST_SIDE) -> int:
    """Return an option of a row; raise CheckpointError if it is not a whole number from `least` to `most`."""
    value = row.options.get(name, default)
    if not isinstance(value, int) or not least <= value <= most:
        raise CheckpointError(
            f"The row of {row.name} has {name}: {value!r:.60}; whole numbers from {least} to {most} can be. Import it "
            "again."
        )
    return int(value)

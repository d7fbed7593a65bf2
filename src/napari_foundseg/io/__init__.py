"""Files in, files out."""

from __future__ import annotations

from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.readers import EXTENSIONS, read_image
from napari_foundseg.io.writers import write_labels, write_overlay

__all__ = ["EXTENSIONS", "atomic_write", "read_image", "write_labels", "write_overlay"]

"""Reading and writing of files."""

from __future__ import annotations

from napari_foundseg.moved_names import warn_and_forward

#: *Copy as Python* of version 0.1 wrote ``from napari_foundseg.io import read_image``; now ``fs.read_image``.
__getattr__ = warn_and_forward(__name__, {"read_image": "napari_foundseg.io.readers:read_image"})

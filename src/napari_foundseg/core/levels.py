"""Moved: *Copy as Python* of version 0.1 wrote ``from napari_foundseg.core.levels import Level``; now ``fs.Level``."""

from __future__ import annotations

from napari_foundseg.moved_names import warn_and_forward

__getattr__ = warn_and_forward(__name__, {"Level": "napari_foundseg.core.pyramids:Level"})

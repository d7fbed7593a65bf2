"""Moved: *Copy as Python* of version 0.1 imported the normalisations from here; now ``fs.Percentile`` and so on."""

from __future__ import annotations

from napari_foundseg.moved_names import warn_and_forward

__getattr__ = warn_and_forward(
    __name__, {name: f"napari_foundseg.core.contrast:{name}" for name in ("CTWindow", "Limits", "Percentile")}
)

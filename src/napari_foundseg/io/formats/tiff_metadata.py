"""Metadata in the three dialects of TIFF: OME's, ImageJ's and tifffile's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from napari_foundseg.io.formats.content import FileContent, colours_from_text
from napari_foundseg.io.formats.units import unit_symbol

__all__ = ["COLOURS", "NAMESPACE", "SIZES", "add_metadata"]

#: OME's names for the size of a pixel along each axis; the name of its unit has ``Unit`` appended.
SIZES = {axis: f"PhysicalSize{axis}" for axis in "ZYX"} | {"T": "TimeIncrement"}
#: Namespace of the map annotation with the colours of labels, in OME-TIFF.
NAMESPACE = "napari-foundseg/label-colours"
#: Key of the colours of labels, in other TIFFs.
COLOURS = "label_colours"


def add_metadata(content: FileContent, tiff: Any) -> None:
    """Fill in spacing, units, names of channels and colours of labels of the first image of an open TIFF."""
    spacing: dict[str, float] = {}
    units: dict[str, str] = {}
    if tiff.is_ome:
        spacing, units = _add_ome(content, tiff.ome_metadata)
    elif tiff.is_imagej:
        spacing, units = _from_imagej(tiff)
        _add_colours(content, (tiff.imagej_metadata or {}).get(COLOURS))
    elif tiff.is_shaped and tiff.shaped_metadata:
        spacing, units = _from_pixels(tiff.shaped_metadata[0])
        _add_colours(content, tiff.shaped_metadata[0].get(COLOURS))
    content.spacing = {axis: size for axis, size in spacing.items() if axis in content.axes}
    content.units = {axis: unit for axis, unit in units.items() if axis in content.spacing}


def _add_ome(content: FileContent, xml: str) -> tuple[dict[str, float], dict[str, str]]:
    import tifffile

    root = tifffile.xml2dict(xml).get("OME", {})
    pixels = _several(root.get("Image", {}))[0].get("Pixels", {})
    content.channels = tuple(str(channel.get("Name", "")) for channel in _several(pixels.get("Channel", [])))
    for annotation in _several((root.get("StructuredAnnotations") or {}).get("MapAnnotation", [])):
        if annotation.get("Namespace") == NAMESPACE:
            rows = _several((annotation.get("Value") or {}).get("M", []))
            _add_colours(content, {str(row["K"]): str(row.get("value")) for row in rows})
    return _from_pixels(pixels)


def _several(found: Any) -> list[Any]:
    """Return XML elements of one name as a list; tifffile returns a single element by itself."""
    return list(found) if isinstance(found, list | tuple) else [found]


def _add_colours(content: FileContent, found: Any) -> None:
    # Another program may use the same key for something else.
    with suppress(ValueError, TypeError, AttributeError):
        texts = json.loads(found) if isinstance(found, str) else found
        content.colours = colours_from_text(texts)


def _from_pixels(pixels: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Read the attributes of OME's Pixels element; our plain TIFFs have the same in their JSON."""
    spacing = {axis: float(pixels[key]) for axis, key in SIZES.items() if _is_size(pixels.get(key))}
    default = {axis: "s" if axis == "T" else "µm" for axis in SIZES}
    units = {axis: unit_symbol(str(pixels.get(f"{SIZES[axis]}Unit", default[axis]))) for axis in spacing}
    return spacing, {axis: unit for axis, unit in units.items() if unit != "pixel"}


def _from_imagej(tiff: Any) -> tuple[dict[str, float], dict[str, str]]:
    meta = tiff.imagej_metadata or {}
    tags = tiff.pages[0].tags
    spacing: dict[str, Any] = {"Z": meta.get("spacing"), "T": meta.get("finterval")}
    for axis in "YX":
        resolution = tags.valueof(f"{axis}Resolution")
        spacing[axis] = resolution[1] / resolution[0] if resolution and resolution[0] else None
    unit = unit_symbol(str(meta.get("unit", "pixel")))
    found = {axis: float(value) for axis, value in spacing.items() if _is_size(value)}
    units = {axis: "s" if axis == "T" else unit for axis in found}
    return found, {axis: name for axis, name in units.items() if name != "pixel"}


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and np.isfinite(value) and value > 0

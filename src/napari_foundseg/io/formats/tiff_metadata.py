"""Metadata in the three dialects of TIFF: OME's, ImageJ's and tifffile's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from napari_foundseg.io.formats.content import FileContent, colours_from_text
from napari_foundseg.io.formats.units import unit_symbol

__all__ = ["COLOURS", "NAMESPACE", "SIZES", "UNITS_NAMESPACE", "add_metadata"]

#: The units of the resolution tags in micrometres: inch and centimetre.
_UNITS_OF_RESOLUTION = {2: 25400.0, 3: 10000.0}
#: Default values of programs and cameras in pixels per inch, which are not measured.
_DEFAULTS_PER_INCH = (1, 72, 96, 150, 180, 240, 300, 350)
#: OME's names for the size of a pixel along each axis. The name of its unit has ``Unit`` appended.
SIZES = {axis: f"PhysicalSize{axis}" for axis in "ZYX"} | {"T": "TimeIncrement"}
#: Namespace of the map annotation with the colours of labels, in OME-TIFF.
NAMESPACE = "napari-foundseg/label-colours"
#: Namespace of the map annotation with sizes in units that OME does not have, in OME-TIFF.
UNITS_NAMESPACE = "napari-foundseg/sizes"
#: Key of the colours of labels, in other TIFFs.
COLOURS = "label_colours"


def add_metadata(content: FileContent, tiff: Any, number: int) -> None:
    """Add spacing, units, names of channels and colours of labels from an image of an open TIFF."""
    spacing: dict[str, float] = {}
    units: dict[str, str] = {}
    if tiff.is_ome:
        spacing, units = _add_ome(content, tiff, number)
    elif tiff.is_imagej:
        spacing, units = _from_imagej(tiff)
        _add_colours(content, (tiff.imagej_metadata or {}).get(COLOURS))
    elif tiff.is_shaped and tiff.shaped_metadata:
        shaped = tiff.shaped_metadata[min(number, len(tiff.shaped_metadata) - 1)]
        spacing, units = _from_pixels(shaped)
        _add_colours(content, shaped.get(COLOURS))
    if not {"Y", "X"} & set(spacing):
        sizes, notes = _from_resolution(tiff.series[number].keyframe.tags)
        spacing = {**spacing, **sizes}
        units = {**units, **dict.fromkeys(sizes, "µm")}
        content.notes = (*content.notes, *notes)
    content.spacing = {axis: size for axis, size in spacing.items() if axis in content.axes}
    content.units = {axis: unit for axis, unit in units.items() if axis in content.spacing}


def _add_ome(content: FileContent, tiff: Any, number: int) -> tuple[dict[str, float], dict[str, str]]:
    import tifffile

    root = tifffile.xml2dict(tiff.ome_metadata).get("OME", {})
    pixels = _image_of(_several(root.get("Image", {})), number, tiff.series[number].name).get("Pixels", {})
    content.channels = tuple(str(channel.get("Name", "")) for channel in _several(pixels.get("Channel", [])))
    spacing, units = _from_pixels(pixels)
    for annotation in _several((root.get("StructuredAnnotations") or {}).get("MapAnnotation", [])):
        rows = _several((annotation.get("Value") or {}).get("M", []))
        if annotation.get("Namespace") == NAMESPACE:
            _add_colours(content, {str(row["K"]): str(row.get("value")) for row in rows})
        if annotation.get("Namespace") == UNITS_NAMESPACE:
            for row in rows:
                size, _, units[str(row["K"])] = str(row.get("value")).partition(" ")
                spacing[str(row["K"])] = float(size)
    return spacing, units


def _image_of(images: list[Any], number: int, name: str) -> Any:
    """Return the XML element of an image. tifffile skips images without pixels, so numbers may differ."""
    own = [image for image in images if image.get("Name") and image["Name"] == name]
    return own[0] if len(own) == 1 else images[min(number, len(images) - 1)]


def _several(found: Any) -> list[Any]:
    """Return XML elements of one name as a list, since tifffile returns a single element without a list."""
    return list(found) if isinstance(found, list | tuple) else [found]


def _add_colours(content: FileContent, found: Any) -> None:
    # Another program may use the same key for something else.
    with suppress(ValueError, TypeError, AttributeError, RecursionError):
        texts = json.loads(found) if isinstance(found, str) else found
        content.colours = colours_from_text(texts)


def _from_pixels(pixels: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Read the attributes of OME's Pixels element, which this package's plain TIFFs have in their JSON."""
    spacing = {axis: float(pixels[key]) for axis, key in SIZES.items() if _is_size(pixels.get(key))}
    default = {axis: "s" if axis == "T" else "µm" for axis in SIZES}
    units = {axis: unit_symbol(str(pixels.get(f"{SIZES[axis]}Unit", default[axis]))) for axis in spacing}
    return spacing, {axis: unit for axis, unit in units.items() if unit != "pixel"}


def _from_imagej(tiff: Any) -> tuple[dict[str, float], dict[str, str]]:
    meta = tiff.imagej_metadata or {}
    tags = tiff.pages[0].tags
    named = "unit" in meta or tags.valueof("ResolutionUnit", 1) not in _UNITS_OF_RESOLUTION
    spacing: dict[str, Any] = {"Z": meta.get("spacing"), "T": meta.get("finterval")}
    for axis in "YX" if named else "":
        resolution = tags.valueof(f"{axis}Resolution")
        spacing[axis] = resolution[1] / resolution[0] if resolution and resolution[0] else None
    unit = unit_symbol(str(meta.get("unit", "pixel")))
    found = {axis: float(value) for axis, value in spacing.items() if _is_size(value)}
    units = {axis: "s" if axis == "T" else unit for axis in found}
    return found, {axis: name for axis, name in units.items() if name != "pixel"}


def _from_resolution(tags: Any) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the size of a pixel in micrometres from the resolution tags, unless they are the default of a program."""
    micrometres = _UNITS_OF_RESOLUTION.get(tags.valueof("ResolutionUnit", 2))
    sizes: dict[str, float] = {}
    for axis in "YX" if micrometres else "":
        resolution = tags.valueof(f"{axis}Resolution")
        if micrometres and resolution and all(resolution):
            sizes[axis] = micrometres * resolution[1] / resolution[0]
    per_inch = {round(25400 / size, 1) for size in sizes.values()}
    if len(sizes) < 2 or any(abs(found - default) < 0.6 for found in per_inch for default in _DEFAULTS_PER_INCH):
        found = max(per_inch, default=0.0)
        words = f"Its resolution of {found:g} per inch is that of a print or a screen, not a pixel size."
        return {}, (words,) if found > 100 else ()
    return sizes, ()


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and np.isfinite(value) and value > 0

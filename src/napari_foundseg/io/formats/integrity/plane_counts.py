"""Checks of a TIFF's metadata before tifffile uses them: texts and counts of planes that would fill the memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from napari_foundseg.core.errors import BadImageError

__all__ = ["check_index", "check_ome_xml", "check_xml_text"]

#: Most planes of an image, since tifffile keeps a list of all.
_MOST_PLANES = 1 << 18
_SUMMARY = ("Channels", "Slices", "Positions", "Frames")
_COUNTS = ("SizeZ", "SizeC", "SizeT", "NumPlanes", "PlaneCount", "FirstZ", "FirstC", "FirstT", "IFD")


def check_xml_text(path: Path, text: str) -> None:
    """Raise an error for XML that defines entities.

    Metadata of images never define any, and a few lines of them can unpack to gigabytes.
    """
    if "<!ENTITY" in text or "<!DOCTYPE" in text:
        raise BadImageError(path, "its XML metadata define entities, which are not expanded; export the file again")


def check_ome_xml(path: Path, text: str) -> None:
    """Raise an error for OME-XML with more planes than a recording has. Other damage is left to tifffile.

    Raises
    ------
    BadImageError
        If it defines entities, or a number of planes is too large.
    """
    check_xml_text(path, text)
    try:
        root = ET.fromstring(text)
    except ET.ParseError:
        return
    for element in root.iter():
        planes = 1.0
        for name in _COUNTS:
            with suppress(KeyError, ValueError):
                count = int(element.attrib[name])
                planes *= max(count, 1) if name.startswith("Size") else 1
                planes = max(planes, count)
        with suppress(KeyError, ValueError, ZeroDivisionError):
            first, last = float(element.attrib["Start"]), float(element.attrib["End"])
            planes = max(planes, abs(last - first) / abs(float(element.attrib.get("Step", 1))))
        _check_planes(path, planes)


def check_index(path: Path, found: Mapping[str, Any]) -> None:
    """Raise an error for Micro-Manager metadata with more planes than a recording has."""
    index = found.get("IndexMap")
    if index is not None and len(index):
        _check_planes(path, prod(int(n) + 1 for n in index[:, :4].max(axis=0)))
    summary: Any = found.get("Summary")
    planes = 1
    with suppress(ValueError, TypeError, AttributeError):
        planes = prod(max(1, int(summary.get(name, 1))) for name in _SUMMARY)
    _check_planes(path, planes)


def _check_planes(path: Path, planes: float) -> None:
    if planes > _MOST_PLANES:
        raise BadImageError(
            path, f"its metadata name {planes:.3g} planes, more than are supported; they are damaged: export it again"
        )

"""Labels and images as TIFF: OME's dialect, ImageJ's if it supports the labels, else tifffile's own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import OutputError
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.formats.content import FileContent, colours_to_text
from napari_foundseg.io.formats.tiff_metadata import COLOURS, NAMESPACE, SIZES, UNITS_NAMESPACE
from napari_foundseg.io.formats.units import in_metres, ome_unit

if TYPE_CHECKING:
    from napari_foundseg.core.image import Image

__all__ = ["write_image_tiff", "write_ome_tiff", "write_tiff"]

#: ImageJ does not read BigTIFF, so larger arrays are written as plain TIFF.
_IMAGEJ_BYTES = 1 << 31


def write_ome_tiff(path: Path, content: FileContent) -> None:
    """Write labels as OME-TIFF.

    Raises
    ------
    OutputError
        If it cannot be written, or OME-TIFF does not support the axes or ids.
    """
    labels = content.data
    axes = content.axes
    if "Q" in axes or labels.dtype.itemsize > 4:
        raise OutputError(
            f"{str(path)!r} cannot be written: OME-TIFF holds the axes T, Z, Y, X and ids up to 2³² - 1, got axes "
            f"{axes} of {labels.dtype}. Write a .tif instead."
        )
    ordered = "".join(sorted(axes, key="TZYX".index))
    labels = labels.transpose([axes.index(axis) for axis in ordered])
    metadata, other_sizes = _valid_sizes(_ome_sizes(axes, content.spacing, content.units))
    annotations = [
        {"Namespace": namespace, "Value": value}
        for namespace, value in ((NAMESPACE, colours_to_text(content.colours)), (UNITS_NAMESPACE, other_sizes))
        if value
    ]
    if annotations:
        metadata["MapAnnotation"] = annotations
    # tifffile's own identifier is random. With one made from the content, equal labels give equal bytes.
    digest = blake2b(f"{metadata} {ordered} {labels.shape}".encode(), digest_size=16)
    digest.update(labels.tobytes())
    identifier = str(uuid.UUID(bytes=digest.digest()))
    _write(path, labels, ome=True, metadata={"axes": ordered, "UUID": identifier, **metadata})


def write_tiff(path: Path, content: FileContent) -> None:
    """Write labels as TIFF, in ImageJ's dialect if it supports them."""
    labels = content.data
    axes = content.axes
    metadata = _ome_sizes(axes, content.spacing, content.units)
    colours = colours_to_text(content.colours)
    sized = [axis for axis in "ZYX" if f"PhysicalSize{axis}" in metadata]
    # ImageJ has one unit for all axes, and rows and columns always have a size.
    units = {metadata[f"PhysicalSize{axis}Unit"] for axis in sized} or {"pixel"}
    one_unit = len(units) == 1 and (units == {"pixel"} or {"Y", "X"} <= set(sized))
    canonical = axes in ("YX", "ZYX", "TYX", "TZYX")
    timed = metadata.get("TimeIncrementUnit", "s") == "s"
    if labels.dtype == np.uint16 and canonical and timed and one_unit and labels.nbytes < _IMAGEJ_BYTES:
        # ImageJ's metadata are ASCII, with um for µm and with Java's escapes for other letters.
        unit = "".join(c if c.isascii() else f"\\u{ord(c):04X}" for c in units.pop().replace("µ", "u"))
        extra = {"unit": unit, **({COLOURS: json.dumps(colours)} if colours else {})}
        _write_imagej(path, labels, axes, metadata, extra)
    else:
        metadata = {"axes": axes, **metadata, **({COLOURS: colours} if colours else {})}
        _write(path, labels, metadata=metadata, **_resolution(content.spacing, content.units))


def write_image_tiff(path: str | Path, image: Image) -> None:
    """Write an image's finest pixels with all channels."""
    pixels = np.asarray(image.levels[0])
    axes = str(image.axes)
    colour = axes.endswith("C") and pixels.shape[-1] in (3, 4)
    # tifffile's letter of colour samples is S.
    metadata = {"axes": f"{axes[:-1]}S" if colour else axes, **_ome_sizes(axes, image.spacing, image.units)}
    photometric = "rgb" if colour else "minisblack"
    _write(path, pixels, photometric, metadata=metadata, **_resolution(image.spacing, image.units))


def _ome_sizes(axes: str, spacing: Mapping[str, float], units: Mapping[str, str]) -> dict[str, Any]:
    """Return spacing and units under OME's names."""
    out: dict[str, Any] = {}
    for axis in (a for a in axes if a in SIZES and a in spacing):
        out[SIZES[axis]] = float(spacing[axis])
        out[f"{SIZES[axis]}Unit"] = units.get(axis, "pixel")
    return out


def _valid_sizes(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the sizes with units that OME-XML accepts, and the other ones by axis, such as ``0.5 furlong``."""
    valid = dict(metadata)
    others: dict[str, str] = {}
    for axis, key in SIZES.items():
        if key not in valid:
            continue
        unit = valid[f"{key}Unit"]
        accepted = ome_unit(unit, "time" if axis == "T" else "length")
        if accepted == unit:
            continue
        valid[f"{key}Unit"] = accepted
        if unit != "pixel":
            others[axis] = f"{valid[key]} {unit}"
        if not accepted:
            # A time without a unit would mean seconds.
            del valid[key], valid[f"{key}Unit"]
    return valid, others


def _resolution(spacing: Mapping[str, float], units: Mapping[str, str]) -> dict[str, Any]:
    """Return the options for resolution tags, which Fiji and QuPath read as the scale; empty for unsupported units."""
    metres = [in_metres(units.get(axis, "pixel")) for axis in "XY"]
    if not all(metres) or not all(axis in spacing for axis in "XY"):
        return {}
    per_cm = tuple(0.01 / (spacing[axis] * size) for axis, size in zip("XY", metres, strict=True) if size)
    # A tag is a fraction of two 32-bit numbers.
    return {"resolution": per_cm, "resolutionunit": "CENTIMETER"} if all(1e-6 < n < 4e9 for n in per_cm) else {}


def _write_imagej(path: Path, labels: NDArray[Any], axes: str, metadata: dict[str, Any], extra: dict[str, Any]) -> None:
    extra |= {"axes": axes, "mode": "grayscale"}
    if "PhysicalSizeZ" in metadata:
        extra["spacing"] = metadata["PhysicalSizeZ"]
    if "TimeIncrement" in metadata:
        extra["finterval"] = metadata["TimeIncrement"]
    resolution = tuple(1 / metadata.get(f"PhysicalSize{axis}", 1.0) for axis in "XY")
    _write(path, labels, imagej=True, metadata=extra, resolution=resolution)


def _write(path: str | Path, pixels: NDArray[Any], photometric: str = "minisblack", **options: Any) -> None:
    import tifffile

    with atomic_write(path) as file:
        tifffile.imwrite(file, pixels, photometric=photometric, compression="zlib", software=False, **options)

"""The meaning of a TIFF's stored values, from its tags."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.io.formats.sample_meaning import orientation_notes
from napari_foundseg.io.formats.stored_samples import Photometric, StoredSamples

__all__ = ["tiff_notes", "tiff_samples"]

#: Values of PhotometricInterpretation.
_PHOTOMETRIC: dict[int, Photometric] = {
    0: "white is zero",
    1: "grey",
    2: "rgb",
    3: "palette",
    5: "cmyk",
    6: "ycbcr",
    8: "cielab",
    9: "icclab",
}
_PHOTOMETRIC_TAG = 262
_FAX = {2, 3, 4}
_COLOURS = 3
_CONTIGUOUS = 1
#: Values of Compression for which YCbCr is decoded as red, green and blue: kinds of JPEG, JPEG 2000, WebP, JPEG XL.
_DECODED_AS_RGB = {6, 7, 34892, 33007, 33004, 33005, 34712, 50001, 34927, 50002, 52546}
#: JPEG 2000 in slides of Aperio: YCbCr, whatever the photometric tag.
_APERIO_YCBCR = 33003
#: Values of ExtraSamples: opacity, either multiplied into the colours or not.
_ALPHA = (1, 2)
#: Value of InkSet for cyan, magenta, yellow and black.
_CMYK = 1


def tiff_samples(tiff: Any, page: Any, letters: str, shape: tuple[int, ...]) -> StoredSamples:
    """Return the meaning of the values of a series of pages, from the tags of its first page.

    `letters` and `shape` are those of tifffile's array.
    """
    kind = _PHOTOMETRIC.get(int(page.photometric), "other")
    if _PHOTOMETRIC_TAG not in page.tags and page.compression not in _FAX:
        # tifffile's default is white as zero; libtiff uses that for faxes only.
        kind = "rgb" if page.samplesperpixel >= _COLOURS else "grey"
    axis = _sample_axis(page, letters, shape)
    if kind == "ycbcr" and page.compression in _DECODED_AS_RGB and page.planarconfig == _CONTIGUOUS:
        kind = "rgb"
    if page.compression == _APERIO_YCBCR:
        kind = "ycbcr"
    if kind == "cmyk" and page.tags.valueof("InkSet", _CMYK) != _CMYK:
        kind = "other"
    extra = tuple(int(value) for value in page.extrasamples)
    count = 1 if axis is None else shape[axis]
    alpha = next((count - len(extra) + i for i, value in enumerate(extra) if value in _ALPHA), None)
    palette = None
    # ImageJ and OME store intensities with a look-up table for display, which must not change the values.
    if kind == "palette" and not tiff.is_imagej and not tiff.is_ome and page.colormap is not None:
        palette = _as_bytes(np.asarray(page.colormap).T)
    more: dict[str, Any] = {}
    if kind == "ycbcr":
        luma = _numbers(page.tags.valueof("YCbCrCoefficients"))
        more = {"black_white": _numbers(page.tags.valueof("ReferenceBlackWhite")) or None}
        if len(luma) == 3:
            more["luma"] = luma
    return StoredSamples(kind, axis, count, int(page.bitspersample), alpha, palette, **more)


def tiff_notes(page: Any) -> tuple[str, ...]:
    """Return notes about a page's tags that are not applied."""
    return orientation_notes(int(page.tags.valueof("Orientation", 1) or 1))


def _sample_axis(page: Any, letters: str, shape: tuple[int, ...]) -> int | None:
    """Return the axis of the values of a pixel, which the metadata may call channels; None if a pixel has one value."""
    if page.samplesperpixel < 2:
        return None
    found = letters.find("S")
    if found < 0:
        found = letters.find("C")
    return found if found >= 0 and shape[found] == page.samplesperpixel else None


def _as_bytes(colours: NDArray[Any]) -> NDArray[np.uint8]:
    # Some programs write 8-bit colours into the 16 bits of a colour map.
    return np.ascontiguousarray(colours if colours.max(initial=0) < 256 else colours >> 8).astype(np.uint8)


def _numbers(value: Any) -> tuple[float, ...]:
    """Return the numbers of a tag of fractions. tifffile returns numerators and denominators."""
    parts = [float(part) for part in value or ()]
    return tuple(a / (b or 1) for a, b in zip(parts[::2], parts[1::2], strict=False))

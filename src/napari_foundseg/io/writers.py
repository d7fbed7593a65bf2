"""Label images, pictures and tables of them into files."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import AxesError, OutputError
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.formats.content import Colour, texts_of
from napari_foundseg.io.formats.ome_zarr_writer import write_ome_zarr
from napari_foundseg.io.formats.png_jpeg import NOTE
from napari_foundseg.io.formats.tiff_metadata import COLOURS, NAMESPACE, SIZES

if TYPE_CHECKING:
    import pandas as pd

    from napari_foundseg.core.image import Image

__all__ = ["write_image", "write_labels", "write_overlay", "write_table"]

#: ImageJ knows no BigTIFF, so larger arrays are written as plain TIFF.
_IMAGEJ_BYTES = 1 << 31
_OPAQUE, _FILL = 1.0, 0.28


def write_labels(
    path: str | Path,
    labels: NDArray[Any],
    axes: str = "YX",
    spacing: Mapping[str, float] | None = None,
    units: Mapping[str, str] | None = None,
    colours: Mapping[int, Colour] | None = None,
    properties: pd.DataFrame | None = None,
) -> None:
    """Write a label image; equal labels give equal bytes.

    Parameters
    ----------
    path : str or Path
        ``.ome.tif`` makes an OME-TIFF, ``.ome.zarr`` an OME-Zarr 0.5 folder, ``.tif`` a TIFF (which ImageJ reads where
        it can hold the labels), ``.png`` a 16-bit grey PNG of a single slice.
    labels : ndarray of unsigned int
        Ids, 0 is background.
    axes : str
        One letter of ``QTZYX`` for every axis of `labels`.
    spacing : mapping of str to float, optional
        Size of a pixel along each axis.
    units : mapping of str to str, optional
        Unit of each spacing.
    colours : mapping of int to tuple of int, optional
        Red, green, blue and opacity (0 to 255) of ids.
    properties : pandas.DataFrame, optional
        What is known of each id; the column ``label`` holds it. Only OME-Zarr has a place for it: beside the other
        formats, write it with `write_table`.

    Raises
    ------
    OutputError
        If the file cannot be written, its extension is none of these, or it cannot hold the ids or properties.
    AxesError
        If the axes do not fit the labels.
    """
    name = Path(path).name.lower()
    if len(axes) != labels.ndim:
        raise AxesError(f"axes={axes!r} names {len(axes)} axes, but the labels have {labels.ndim}.")
    spacing, units, colours = spacing or {}, units or {}, colours or {}
    if name.endswith(".zarr"):
        write_ome_zarr(path, labels, axes, spacing, units, colours, properties)
        return
    if properties is not None:
        raise OutputError(f"{str(path)!r} cannot hold the properties of objects: write them as a table (.csv).")
    metadata = _physical(axes, spacing, units)
    if name.endswith((".ome.tif", ".ome.tiff")):
        _write_ome(path, labels, axes, metadata, texts_of(colours))
    elif name.endswith((".tif", ".tiff")):
        _write_tiff(path, labels, axes, metadata, texts_of(colours))
    elif name.endswith(".png"):
        _write_png(
            path,
            labels.T if axes == "XY" else labels,
            {"spacing": spacing, "units": units, "colours": texts_of(colours)},
        )
    else:
        raise OutputError(f"{str(path)!r} cannot be written: labels are saved as .tif, .ome.tif, .ome.zarr or .png.")


def write_image(path: str | Path, image: Image) -> None:
    """Write an image's finest pixels, all channels; equal pixels give equal bytes.

    Parameters
    ----------
    path : str or Path
        A ``.tif`` file.
    image : Image
        With its axes, spacing and units, which `read_image` gives back.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    pixels, axes = np.asarray(image.levels[0]), str(image.axes)
    colour = axes.endswith("C") and pixels.shape[-1] in (3, 4)
    # Colour samples have a letter of their own in TIFF.
    metadata = {"axes": f"{axes[:-1]}S" if colour else axes, **_physical(axes, image.spacing, image.units)}
    _write(path, pixels, photometric="rgb" if colour else "minisblack", metadata=metadata)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV; equal tables give equal bytes.

    Parameters
    ----------
    path : str or Path
        The file.
    table : pandas.DataFrame
        Its columns are written, its index is not. UTF-8 with the mark that spreadsheets know it by.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with atomic_write(path) as file:
        file.write(table.to_csv(index=False, lineterminator="\n").encode("utf-8-sig"))


def write_overlay(path: str | Path, rgb: NDArray[np.uint8], labels: NDArray[Any]) -> None:
    """Write a picture of an image with its objects outlined and lightly filled in colour.

    Parameters
    ----------
    path : str or Path
        A ``.png`` file.
    rgb : (M, N, 3) ndarray of uint8
        The image.
    labels : (M, N) ndarray of int
        Ids, 0 is background.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import PIL.Image

    with atomic_write(path) as file:
        PIL.Image.fromarray(overlay(rgb, labels)).save(file, "PNG", optimize=True)


def overlay(rgb: NDArray[np.uint8], labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image with its objects outlined and lightly filled in colour.

    Parameters
    ----------
    rgb : (M, N, 3) ndarray of uint8
        The image.
    labels : (M, N) ndarray of int
        Ids, 0 is background.

    Returns
    -------
    (M, N, 3) ndarray of uint8
        The background is unaltered.
    """
    from skimage.segmentation import find_boundaries

    ids, position = np.unique(labels, return_inverse=True)
    colours = _colours(ids)[position.reshape(labels.shape)]
    share = np.where(find_boundaries(labels, mode="inner"), _OPAQUE, _FILL) * (labels > 0)
    mixed = rgb + (colours - rgb) * share[..., None]
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def _colours(ids: NDArray[Any]) -> NDArray[np.float64]:
    """Return a bright colour for each id; steps of the golden ratio keep neighbouring ids apart."""
    from skimage.color import hsv2rgb

    hue = (ids.astype(float) * 0.6180339887498949) % 1.0
    hsv = np.stack([hue, np.full_like(hue, 0.75), np.ones_like(hue)], axis=-1)
    return np.asarray(hsv2rgb(hsv[None])[0] * 255)


def _physical(axes: str, spacing: Mapping[str, float], units: Mapping[str, str]) -> dict[str, Any]:
    """Return spacing and units in OME's words."""
    out: dict[str, Any] = {}
    for axis in (a for a in axes if a in SIZES and a in spacing):
        out[SIZES[axis]] = float(spacing[axis])
        out[f"{SIZES[axis]}Unit"] = units.get(axis, "pixel")
    return out


def _write_ome(
    path: str | Path, labels: NDArray[Any], axes: str, metadata: dict[str, Any], colours: dict[str, str]
) -> None:
    if "Q" in axes or labels.dtype.itemsize > 4:
        raise OutputError(
            f"{str(path)!r} cannot be written: OME-TIFF holds the axes T, Z, Y, X and ids up to 2³² - 1, got axes "
            f"{axes} of {labels.dtype}. Write a .tif instead."
        )
    ordered = "".join(sorted(axes, key="TZYX".index))
    labels = labels.transpose([axes.index(axis) for axis in ordered])
    if metadata.get("TimeIncrementUnit") == "pixel":
        # OME has no such unit of time; without one it means seconds.
        metadata = {k: v for k, v in metadata.items() if not k.startswith("TimeIncrement")}
    if colours:
        metadata["MapAnnotation"] = {"Namespace": NAMESPACE, "Value": colours}
    # The identifier is made of the content: tifffile's own is new each time.
    digest = blake2b(f"{metadata} {ordered} {labels.shape}".encode(), digest_size=16)
    digest.update(labels.tobytes())
    identifier = str(uuid.UUID(bytes=digest.digest()))
    _write(path, labels, ome=True, metadata={"axes": ordered, "UUID": identifier, **metadata})


def _write_tiff(
    path: str | Path, labels: NDArray[Any], axes: str, metadata: dict[str, Any], colours: dict[str, str]
) -> None:
    spatial = {metadata.get(f"PhysicalSize{axis}Unit", "pixel") for axis in axes if axis in "ZYX"}
    canonical = axes in ("YX", "ZYX", "TYX", "TZYX")
    timed = metadata.get("TimeIncrementUnit", "s") == "s"
    if labels.dtype == np.uint16 and canonical and timed and len(spatial) == 1 and labels.nbytes < _IMAGEJ_BYTES:
        # ImageJ's own spelling: its metadata are ASCII, a line each.
        unit = spatial.pop().replace("µ", "u").encode("ascii", "backslashreplace").decode()
        extra = {"unit": unit, **({COLOURS: json.dumps(colours)} if colours else {})}
        _write_imagej(path, labels, axes, metadata, extra)
    else:
        _write(path, labels, metadata={"axes": axes, **metadata, **({COLOURS: colours} if colours else {})})


def _write_imagej(
    path: str | Path, labels: NDArray[Any], axes: str, metadata: dict[str, Any], extra: dict[str, Any]
) -> None:
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


def _write_png(path: str | Path, labels: NDArray[Any], note: dict[str, Any]) -> None:
    import PIL.Image
    from PIL.PngImagePlugin import PngInfo

    largest = int(labels.max(initial=0))
    if labels.ndim != 2 or largest > np.iinfo(np.uint16).max:
        raise OutputError(
            f"{str(path)!r} cannot be written: a PNG holds one slice with ids up to 65535, got shape {labels.shape} "
            f"and ids up to {largest}. Write a .tif instead."
        )
    info = PngInfo()
    if any(note.values()):
        info.add_text(NOTE, json.dumps(note))
    with atomic_write(path) as file:
        PIL.Image.fromarray(labels.astype(np.uint16)).save(file, "PNG", optimize=True, pnginfo=info)

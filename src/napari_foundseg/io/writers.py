"""Write label images, images, tables and overlays to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import AxesError, OutputError
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.formats.content import Colour, FileContent
from napari_foundseg.io.formats.table import format_to_write, label_endings, listed
from napari_foundseg.io.formats.tiff_writer import write_image_tiff

if TYPE_CHECKING:
    import pandas as pd

    from napari_foundseg.core.image import Image

__all__ = ["write_image", "write_labels", "write_overlay", "write_table"]

#: Opacity of the outlines and of the inside of objects in an overlay.
_OUTLINE = 1.0
_FILL = 0.28


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
        One row an object; the column ``label`` holds its id. Only OME-Zarr holds it: for the other formats, write a
        table with `write_table`.

    Raises
    ------
    OutputError
        If the file cannot be written, its extension is none of these, or it cannot hold the ids or properties.
    AxesError
        If the axes do not fit the labels.
    """
    path = Path(path)
    if len(axes) != labels.ndim:
        raise AxesError(f"axes={axes!r} names {len(axes)} axes, but the labels have {labels.ndim}.")
    row = format_to_write(path.name)
    if row is None or row.write is None:
        raise OutputError(f"{str(path)!r} cannot be written: labels are saved as {listed(label_endings())}.")
    if properties is not None and not row.properties:
        raise OutputError(f"{str(path)!r} cannot hold the properties of objects: write them as a table (.csv).")
    content = FileContent(labels, axes, dict(spacing or {}), dict(units or {}), colours=dict(colours or {}))
    content.properties = properties
    row.write(path, content)


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
    write_image_tiff(path, image)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV; equal tables give equal bytes.

    Parameters
    ----------
    path : str or Path
        The file.
    table : pandas.DataFrame
        Its columns are written, its index is not. The file is UTF-8 with a byte order mark, for spreadsheets.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with atomic_write(path) as file:
        file.write(table.to_csv(index=False, lineterminator="\n").encode("utf-8-sig"))


def write_overlay(path: str | Path, rgb: NDArray[np.uint8], labels: NDArray[Any]) -> None:
    """Write an image as a PNG with its objects outlined and lightly filled in colour.

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
    """Return an (M, N, 3) image of uint8 with its objects outlined and lightly filled in colour."""
    from skimage.segmentation import find_boundaries

    ids, position = np.unique(labels, return_inverse=True)
    colours = _colours(ids)[position.reshape(labels.shape)]
    share = np.where(find_boundaries(labels, mode="inner"), _OUTLINE, _FILL) * (labels > 0)
    mixed = rgb + (colours - rgb) * share[..., None]
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def _colours(ids: NDArray[Any]) -> NDArray[np.float64]:
    """Return a bright colour for each id; steps of the golden ratio keep neighbouring ids apart."""
    from skimage.color import hsv2rgb

    hue = (ids.astype(float) * 0.6180339887498949) % 1.0
    hsv = np.stack([hue, np.full_like(hue, 0.75), np.ones_like(hue)], axis=-1)
    return np.asarray(hsv2rgb(hsv[None])[0] * 255)

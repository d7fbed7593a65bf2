"""Write label images, images, tables and overlays to files.

The functions ``write_…`` refuse to replace a file that this package did not write, or that was edited since. The
functions ``replace_…`` replace any file of the name. They are for files that only this package uses, and for cases
where the user was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import AxesError, OutputError
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.formats.content import Colour, FileContent
from napari_foundseg.io.formats.table import format_of_labels
from napari_foundseg.io.formats.tiff_writer import write_image_tiff
from napari_foundseg.io.output_paths import refuse_kept
from napari_foundseg.io.written_files import note_written

if TYPE_CHECKING:
    import pandas as pd

    from napari_foundseg.core.image import Image

__all__ = [
    "replace_labels",
    "replace_overlay",
    "replace_table",
    "write_image",
    "write_labels",
    "write_overlay",
    "write_table",
]

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
    """Write a label image. Equal labels give equal bytes.

    Parameters
    ----------
    path : str or Path
        ``.ome.tif`` makes an OME-TIFF, ``.ome.zarr`` an OME-Zarr 0.5 folder, ``.tif`` a TIFF (for ImageJ too, if it
        supports the labels), ``.png`` a 16-bit grey PNG of a single slice.
    labels : ndarray of unsigned int
        Ids; 0 is background.
    axes : str
        One letter of ``QTZYX`` for every axis of `labels`.
    spacing : mapping of str to float, optional
        Size of a pixel along each axis.
    units : mapping of str to str, optional
        Unit of each spacing.
    colours : mapping of int to tuple of int, optional
        Red, green, blue and opacity (0 to 255) of ids.
    properties : pandas.DataFrame, optional
        One row per object, with its id in the column ``label``. Only OME-Zarr supports it. For other formats, write a
        table with `write_table`.

    Raises
    ------
    KeptError
        If a file of that name was not written by this package, or was edited since; it is kept.
    OutputError
        If the file cannot be written, has another extension, or does not support the ids or properties.
    AxesError
        If the axes do not fit the labels.

    Notes
    -----
    A file that this package wrote and nobody edited is replaced, so a script can be run again.
    """
    with _keeping(path):
        replace_labels(path, labels, axes, spacing, units, colours, properties)


def replace_labels(
    path: str | Path,
    labels: NDArray[Any],
    axes: str = "YX",
    spacing: Mapping[str, float] | None = None,
    units: Mapping[str, str] | None = None,
    colours: Mapping[int, Colour] | None = None,
    properties: pd.DataFrame | None = None,
) -> None:
    """Write a label image as `write_labels` does, replacing any file of the name."""
    path = Path(path)
    if len(axes) != labels.ndim:
        raise AxesError(f"axes={axes!r} names {len(axes)} axes, but the labels have {labels.ndim}.")
    row = format_of_labels(path)
    if labels.dtype.kind not in "bui":
        raise OutputError(f"{str(path)!r} was not written: ids of objects are whole numbers, got {labels.dtype}.")
    small = labels.dtype.kind == "b" or np.iinfo(labels.dtype).max <= row.largest_id
    row = format_of_labels(path, axes, 0 if small else int(labels.max(initial=0)))
    if properties is not None and not row.properties:
        raise OutputError(f"{str(path)!r} cannot hold the properties of objects: write them as a table (.csv).")
    content = FileContent(labels, axes, dict(spacing or {}), dict(units or {}), colours=dict(colours or {}))
    content.properties = properties
    assert row.write is not None
    row.write(path, content)


def write_image(path: str | Path, image: Image) -> None:
    """Write an image's finest pixels with all channels. Equal pixels give equal bytes.

    Parameters
    ----------
    path : str or Path
        A ``.tif`` file.
    image : Image
        The image, whose axes, spacing and units are written too.

    Raises
    ------
    KeptError
        If a file of that name was not written by this package, or was edited since; it is kept.
    OutputError
        If it cannot be written, or has another extension.
    """
    if not str(path).lower().endswith((".tif", ".tiff")):
        raise OutputError(f"{str(path)!r} cannot be written: images are saved as .tif.")
    with _keeping(path):
        write_image_tiff(path, image)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV. Equal tables give equal bytes.

    Parameters
    ----------
    path : str or Path
        The file.
    table : pandas.DataFrame
        The table. Its columns are written, but not its index. The file is UTF-8 with a byte order mark, for
        spreadsheets.

    Raises
    ------
    KeptError
        If a file of that name was not written by this package, or was edited since; it is kept.
    OutputError
        If the file cannot be written.
    """
    with _keeping(path):
        replace_table(path, table)


def replace_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as `write_table` does, replacing any file of the name."""
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
        Ids; 0 is background.

    Raises
    ------
    KeptError
        If a file of that name was not written by this package, or was edited since; it is kept.
    OutputError
        If the file cannot be written.
    """
    with _keeping(path):
        replace_overlay(path, rgb, labels)


def replace_overlay(path: str | Path, rgb: NDArray[np.uint8], labels: NDArray[Any], *, durable: bool = True) -> None:
    """Write an overlay as `write_overlay` does, replacing any file of the name.

    If it is not `durable`, it may be incomplete after a crash of the computer.
    """
    import PIL.Image

    # The search for the smallest file takes ten times as long as the rest of a thumbnail, for two percent of its size.
    packing = {"optimize": True} if durable else {"compress_level": 1}
    with atomic_write(path, synced="name" if durable else "nothing") as file:
        PIL.Image.fromarray(overlay(rgb, labels)).save(file, "PNG", **packing)


def overlay(rgb: NDArray[np.uint8], labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an (M, N, 3) image of uint8 with its objects outlined and lightly filled in colour."""
    from skimage.segmentation import find_boundaries

    ids, position = np.unique(labels, return_inverse=True)
    colours = _colours(ids)[position.reshape(labels.shape)]
    share = np.where(find_boundaries(labels, mode="inner"), _OUTLINE, _FILL) * (labels > 0)
    mixed = rgb + (colours - rgb) * share[..., None]
    return np.asarray(np.rint(mixed), dtype=np.uint8)


@contextmanager
def _keeping(path: str | Path) -> Iterator[None]:
    """Refuse to replace a foreign or edited file, and remember the written one."""
    refuse_kept(path, overwrite=True)
    yield
    note_written(Path(path))


def _colours(ids: NDArray[Any]) -> NDArray[np.float64]:
    """Return a bright colour for each id. Steps of the golden ratio give neighbouring ids different hues."""
    from skimage.color import hsv2rgb

    hue = (ids.astype(float) * 0.6180339887498949) % 1.0
    hsv = np.stack([hue, np.full_like(hue, 0.75), np.ones_like(hue)], axis=-1)
    return np.asarray(hsv2rgb(hsv[None])[0] * 255)

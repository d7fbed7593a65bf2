"""Measurements of objects from arrays, files and results, with the columns of *Objects* in the window."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.axes import checked_axes
from napari_foundseg.core.errors import AxesError
from napari_foundseg.core.image import Image
from napari_foundseg.core.measuring.columns import sizes_by_slice
from napari_foundseg.core.measuring.grey_values import channel_labels, grey_values
from napari_foundseg.core.measuring.measurements import measure as measure_labels
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.files.object_cells import pixel_sizes
from napari_foundseg.io.image_sources import as_image
from napari_foundseg.io.readers import read_labels
from napari_foundseg.tasks.label_image import label_array

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["measure", "measured_table"]


def measure(labels: Any, image: Any = None, *, axes: str | None = None, by_slice: bool = False) -> pd.DataFrame:
    """Measure objects: size, position, shape, and intensities in each channel of an image.

    Parameters
    ----------
    labels : Segmentation, array-like of int, str or Path
        A result, a label image, or the file that holds one.
    image : array-like or Image or str or Path, optional
        The image in which intensities are measured: the one that the labels were made from, with or without channels.
        Its pixel size is used if it has one, otherwise that of the labels.
    axes : str, optional
        Axes of the image, such as ``"ZYX"`` or ``"YXC"``; without an image, those of an array of labels.
    by_slice : bool
        Whether each slice of an object is measured separately.

    Returns
    -------
    pandas.DataFrame
        One row per object, and one row per time point for objects that exist at several. With `by_slice`, one row
        per slice of an object, with the number of the slice in the column ``z``. The columns are those of *Objects* in
        the window, with the unit in their names, such as ``area (µm²)``; for a `Segmentation` they come after those of
        its table. Positions and corners are in pixels, and ``z`` is then that of the centroid.

    Raises
    ------
    AxesError
        If labels and image differ in shape.
    BadImageError, SettingsError
        If a file cannot be read, or the labels are not whole numbers from 0.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_foundseg as fs
    >>> labels = np.zeros((20, 20), np.uint16)
    >>> labels[4:8, 5:15] = 1
    >>> table = fs.measure(labels)
    >>> table["area (px²)"].tolist()
    [40.0]
    """
    picture = None if image is None else as_image(image, axes)
    own_axes = axes
    spacing: Mapping[str, float] = {}
    units: Mapping[str, str] = {}
    if isinstance(labels, Segmentation):
        pixels = labels.labels
        seen = labels.provenance.get("image", {})
        own_axes, spacing, units = seen.get("axes", axes), seen.get("spacing", {}), seen.get("units", {})
    elif isinstance(labels, str | Path):
        content = read_labels(labels)
        pixels, own_axes, spacing, units = content.data, content.axes, content.spacing, content.units
    else:
        pixels = label_array(labels)
    if picture is not None:
        own_axes = picture.label_axes
        if picture.spacing:
            spacing, units = picture.spacing, picture.units
    elif own_axes is None or len(own_axes) != pixels.ndim:
        own_axes = checked_axes(own_axes, pixels.shape) if own_axes else "TQZYX"[-pixels.ndim :]
    measured = _measured(pixels, own_axes, spacing, units, picture, by_slice=by_slice)
    if by_slice:
        return measured
    return _joined(labels.table, measured) if isinstance(labels, Segmentation) else measured


def measured_table(table: pd.DataFrame, labels: NDArray[Any], image: Image) -> pd.DataFrame:
    """Return an object table with the measurements of its objects.

    Parameters
    ----------
    table : pandas.DataFrame
        The table of a result.
    labels : ndarray of int
        The labels of the result.
    image : Image
        The image of the result.

    Returns
    -------
    pandas.DataFrame
        Objects without pixels keep a row without measurements.
    """
    return _joined(table, _measured(labels, image.label_axes, image.spacing, image.units, image))


def _measured(
    labels: NDArray[Any],
    axes: str,
    spacing: Mapping[str, float],
    units: Mapping[str, str],
    image: Image | None,
    *,
    by_slice: bool = False,
) -> pd.DataFrame:
    grey = None if image is None else grey_values(image, labels.shape)
    if image is not None and grey is None:
        raise AxesError(
            f"The labels have the shape {labels.shape}, the image has {image.shape} without channels. Give the image "
            "that the labels were made of."
        )
    names = () if image is None else channel_labels(image)
    sizes, unit = pixel_sizes(axes, spacing, units)
    sizes = sizes_by_slice(axes, sizes) if by_slice else sizes
    return measure_labels(labels, axes, sizes, unit, grey, channels=names)


def _joined(table: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    kept = [name for name in table if name == "label" or name not in measured]
    joined = table[kept].astype({"label": np.int64}).merge(measured, "left", "label")
    # If all objects have pixels, no value is missing and counts stay whole numbers.
    return joined.assign(pixels=joined["pixels"].fillna(0).astype(np.int64))

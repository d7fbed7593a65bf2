"""Measurements in the table of saved labels. Those of edited objects are made when the labels are saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_foundseg.core.editing.object_boxes import object_boxes
from napari_foundseg.core.measuring.columns import is_measured
from napari_foundseg.core.measuring.grey_values import channel_labels, grey_values
from napari_foundseg.core.measuring.measurements import measure
from napari_foundseg.io.formats.units import in_metres, unit_symbol

if TYPE_CHECKING:
    import pandas as pd

    from napari_foundseg.core.image import Image
    from napari_foundseg.io.formats.content import FileContent

__all__ = ["measured_properties", "pixel_sizes"]


def measured_properties(content: FileContent, image: Image | None = None) -> pd.DataFrame | None:
    """Return the properties of labels, with measurements for the cells that an edit has emptied.

    Parameters
    ----------
    content : FileContent
        The labels with their properties.
    image : Image, optional
        The image of the labels. Without it, intensities stay empty.

    Returns
    -------
    pandas.DataFrame or None
        One row per object with the table's own columns; None without properties. Columns in a unit other than that of
        the pixels are not filled.
    """
    table = content.properties
    if table is None or not any(is_measured(str(name)) for name in table) or not table["label"].is_unique:
        return table
    boxes = object_boxes(content.data)
    sizes = pixel_sizes(content.axes, content.spacing, content.units)
    there = table["label"].isin(boxes)
    empty = table.drop(columns="label").isna().any(axis=1)
    ids = [int(label) for label in table["label"][there & empty]]
    if not ids:
        return table
    grey = None if image is None else grey_values(image, content.data.shape)
    names = () if image is None or grey is None else channel_labels(image)
    found = measure(content.data, content.axes, *sizes, grey, {i: boxes[i] for i in ids}, names)
    if not found["label"].is_unique:
        # Objects that extend in time have a row for each point.
        return table
    found = found.set_index("label")
    out = table.copy()
    for name in found.columns.intersection(table.columns):
        own = out[name].isna() & out["label"].isin(found.index)
        if own.any():
            out[name] = out[name].where(~own, out["label"].map(found[name]))
    return out


def pixel_sizes(axes: str, spacing: Mapping[str, float], units: Mapping[str, str]) -> tuple[list[float | None], str]:
    """Return the size of a pixel along each axis, in the unit of the last one, and that unit.

    Parameters
    ----------
    axes : str
        A letter for each axis.
    spacing, units : mapping of str
        Sizes and their units by axis, as in an `Image`.

    Returns
    -------
    list of float or None
        The sizes; None along T, Q and C, where objects have a row for each point.
    str
        The unit; ``px`` for counts of pixels, ``scaled px`` if there is a size without a unit.
    """
    symbols = {axis: unit_symbol(units.get(axis, "")) for axis in axes}
    last = symbols[axes[-1]]
    reference = in_metres(last)
    sizes: list[float | None] = []
    for axis in axes:
        metres = in_metres(symbols[axis])
        ratio = metres / reference if metres and reference else 1.0
        sizes.append(None if axis in "TQC" else abs(float(spacing.get(axis, 1.0))) * ratio)
    if last not in ("", "px", "pixel", "pixels"):
        return sizes, last
    return sizes, "scaled px" if any(size not in (None, 1) for size in sizes) else "px"

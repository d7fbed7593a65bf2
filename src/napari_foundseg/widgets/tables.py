"""Tables of measurements, saved for a spreadsheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_foundseg.core.measure import measure
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.widgets.layers import label_spacing, layer_axes

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_foundseg.core.image import Image

__all__ = ["save_table"]


def save_table(layer: Labels, image: Image | None, path: str) -> int:
    """Measure all objects of a layer and save the table as CSV.

    Parameters
    ----------
    layer : napari.layers.Labels
        In memory.
    image : Image or None
        Whose grey values are averaged, where they lie pixel on pixel with the labels; lazy ones are left out.
    path : str
        The file.

    Returns
    -------
    int
        Number of objects.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    spacing, unit = label_spacing(layer)
    values = image.data if image is not None and isinstance(image.data, np.ndarray) else None
    fits = values is not None and values.shape[: layer.ndim] == layer.data.shape
    table = measure(layer.data, layer_axes(layer), spacing, unit, values if fits else None)
    with atomic_write(path) as file:
        # With the mark that spreadsheets know UTF-8 by.
        file.write(table.to_csv(index=False).encode("utf-8-sig"))
    return len(table)

"""Measurements of labelled objects, in the image's own unit where that is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["measure"]


def measure(
    labels: NDArray[Any], axes: str, spacing: Sequence[float | None], unit: str, image: NDArray[Any] | None = None
) -> pd.DataFrame:
    """Measure every object, by scikit-image's ``regionprops``.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    axes : str
        A letter for each of its axes.
    spacing : sequence of float or None
        Size of a pixel along each axis; None along an axis (time) on which objects do not go on: there each point has
        rows of its own.
    unit : str
        Of the spacing; it stands in the columns' names.
    image : ndarray, optional
        Grey values of the shape of `labels`, or with a last axis of channels.

    Returns
    -------
    pandas.DataFrame
        A row per object: ``label``; the axes without spacing; ``pixels``; area or volume, equivalent diameter and, in
        2-D, the largest Feret diameter, in `unit`; the centroid in pixels; the mean intensity of each channel.
    """
    import pandas as pd

    fixed = [i for i, size in enumerate(spacing) if size is None]
    rest = [i for i, size in enumerate(spacing) if size is not None]
    known = [size for size in spacing if size is not None]
    tables = []
    for at in product(*(range(labels.shape[i]) for i in fixed)):
        where: list[Any] = [slice(None)] * labels.ndim
        for i, k in zip(fixed, at, strict=True):
            where[i] = k
        part = None if image is None else image[tuple(where)]
        table = _table(labels[tuple(where)], [axes[i] for i in rest], known, unit, part)
        for i, k in zip(fixed, at, strict=True):
            table.insert(1, axes[i].lower(), k)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _table(
    labels: NDArray[Any], axes: list[str], spacing: list[float], unit: str, image: NDArray[Any] | None
) -> pd.DataFrame:
    import pandas as pd
    from skimage.measure import regionprops_table

    wanted = ["label", "num_pixels", "area", "equivalent_diameter_area", "centroid"]
    flat = labels.ndim == 2
    wanted += ["feret_diameter_max"] if flat else []
    wanted += ["intensity_mean"] if image is not None else []
    found = regionprops_table(labels.astype(np.int64, copy=False), image, wanted, spacing=spacing)
    size = "area" if flat else "volume"
    names = {
        "num_pixels": "pixels",
        "area": f"{size} ({unit}{'²' if flat else '³'})",
        "equivalent_diameter_area": f"equivalent diameter ({unit})",
        "feret_diameter_max": f"Feret diameter ({unit})",
        "intensity_mean": "mean intensity",
    }
    table = pd.DataFrame(found).rename(columns=names)
    for k, axis in enumerate(axes):
        # regionprops gives the centroid in the unit of the spacing; a person looks for it in pixels.
        table[f"centroid-{k}"] /= spacing[k]
        table = table.rename(columns={f"centroid-{k}": axis.lower()})
    return table.rename(columns=lambda name: name.replace("intensity_mean-", "mean intensity "))

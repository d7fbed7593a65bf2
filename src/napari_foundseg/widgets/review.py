"""The order in which objects want a person's look."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from napari.layers import Labels

__all__ = ["least_certain"]


def least_certain(layer: Labels, seen: Collection[int]) -> tuple[int, tuple[float, ...]] | None:
    """Return the object that the model trusts least, and a pixel of it.

    Parameters
    ----------
    layer : napari.layers.Labels
        With the object table as features; objects without scores come last, the smallest of them first.
    seen : collection of int
        Objects to leave out.

    Returns
    -------
    (int, tuple of float) or None
        The id and a position in the array; None where all were seen.
    """
    ids, areas = np.unique(layer.data, return_counts=True)
    features = layer.features
    trust = dict.fromkeys(ids.tolist(), np.inf)
    if {"index", "predicted_iou", "stability_score"} <= set(features):
        product = features["predicted_iou"] * features["stability_score"]
        trust |= {int(i): float(t) for i, t in zip(features["index"], product, strict=True) if int(i) in trust}
    left = [(trust[int(i)], int(n), int(i)) for i, n in zip(ids, areas, strict=True) if i and int(i) not in seen]
    if not left:
        return None
    label = min(left)[2]
    where = np.argwhere(layer.data == label)
    middle = where[np.abs(where - where.mean(0)).sum(1).argmin()]
    return label, tuple(float(v) for v in middle)

"""What a Labels layer's features say of its objects, read and written object by object."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_foundseg.core.editing.object_facts import Facts, facts_of_table, table_of_facts, with_facts

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels

__all__ = ["ACCEPTED", "REJECTED", "features_of", "know", "known_of"]

#: What a person said of an object, in the columns ``review`` and ``note`` of a layer's features.
ACCEPTED, REJECTED = "accepted", "rejected"
#: napari's name of the column that holds the labels.
_INDEX = "index"


def known_of(layer: Labels, ids: Collection[int] | None = None) -> dict[int, dict[str, Any]]:
    """Return what a layer's features say of objects.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer.
    ids : collection of int, optional
        The objects; all by default.

    Returns
    -------
    dict of int to dict
        By id; objects of which nothing is known are left out.
    """
    return facts_of_table(_indexed(layer), _INDEX, ids)


def know(layer: Labels, facts: Facts) -> None:
    """Have a layer's features say exactly this of objects.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer.
    facts : mapping of int to mapping of str
        By id; an empty mapping for an object of which nothing is known any more.
    """
    if facts:
        layer.features = with_facts(_indexed(layer), _INDEX, facts)


def features_of(facts: Facts) -> pd.DataFrame:
    """Return features for a new Labels layer.

    Parameters
    ----------
    facts : mapping of int to mapping of str
        What is known of its objects.

    Returns
    -------
    pandas.DataFrame
        With the column ``index``.
    """
    return table_of_facts(facts, _INDEX)


def _indexed(layer: Labels) -> pd.DataFrame:
    """Return the features with the labels in a column: without one, napari counts rows."""
    features = layer.features
    if _INDEX not in features:
        rows = len(features) if len(features.columns) else 0
        features = features.iloc[:rows].assign(**{_INDEX: np.arange(rows)})
    indexed: pd.DataFrame = features.astype({_INDEX: np.int64})
    return indexed

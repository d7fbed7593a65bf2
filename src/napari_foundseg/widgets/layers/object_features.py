"""Facts about objects (scores, review, note), stored in the features of a Labels layer."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_foundseg.core.editing.object_facts import Facts, facts_of_table, table_of_facts, with_facts
from napari_foundseg.core.errors import AxesError
from napari_foundseg.widgets.layers.layer_axes import layer_axes

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels

__all__ = [
    "ACCEPTED", "INDEX", "REJECTED", "facts_to_features", "indexed_features", "measured_columns", "read_facts",
    "write_facts",
]  # fmt: skip

#: Values of the column ``review`` of a layer's features.
ACCEPTED = "accepted"
REJECTED = "rejected"
#: The column from which napari reads labels.
INDEX = "index"


def read_facts(layer: Labels, ids: Collection[int] | None = None) -> dict[int, dict[str, Any]]:
    """Return the facts about objects in a layer's features, by id.

    `ids` selects the objects; by default, all. Objects without facts are left out.
    """
    return facts_of_table(indexed_features(layer), INDEX, ids)


def write_facts(layer: Labels, facts: Facts) -> None:
    """Replace the facts about objects in a layer's features; other objects keep their facts.

    Parameters
    ----------
    facts : mapping of int to mapping of str
        The new facts of each object, by id; an empty mapping removes all facts of an object.
    """
    if facts:
        layer.features = with_facts(indexed_features(layer), INDEX, facts)


def facts_to_features(facts: Facts) -> pd.DataFrame:
    """Return features for a new Labels layer.

    Parameters
    ----------
    facts : mapping of int to mapping of str
        The facts about each object, by id.
    """
    return table_of_facts(facts, INDEX)


def measured_columns(layer: Labels) -> tuple[str, list[str]]:
    """Return a layer's axis letters and the columns of its features; both empty if the axes are not clear."""
    try:
        return layer_axes(layer), list(map(str, layer.features))
    except AxesError:
        return "", []


def indexed_features(layer: Labels) -> pd.DataFrame:
    """Return the features with an id column; without that column, napari takes row numbers as ids."""
    features = layer.features
    if INDEX not in features:
        rows = len(features) if len(features.columns) else 0
        features = features.iloc[:rows].assign(**{INDEX: np.arange(rows)})
    # A copy of the table of many objects takes time.
    indexed: pd.DataFrame = features if features[INDEX].dtype == np.int64 else features.astype({INDEX: np.int64})
    return indexed

"""Features of objects other than their pixels: scores of a model, and the user's review state and notes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Facts", "facts_of_table", "table_of_facts", "with_facts"]

#: Numbers and texts by object id and name. An object without features has an empty mapping.
Facts = Mapping[int, Mapping[str, Any]]


def facts_of_table(table: pd.DataFrame, key: str, ids: Collection[int] | None = None) -> dict[int, dict[str, Any]]:
    """Return the features of objects from a table.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per object. Empty cells are left out.
    key : str
        The column that holds the ids.
    ids : collection of int, optional
        The objects; all by default. Background (0) is left out.

    Returns
    -------
    dict of int to dict
        Plain numbers and texts by name. Objects that are not in the table are left out.
    """
    if key not in table:
        return {}
    rows = table[table[key] != 0] if ids is None else table[table[key].isin([i for i in ids if i])]
    names = [name for name in rows if name != key]
    columns = [[_plain(value) for value in rows[name].tolist()] for name in names]
    features = (
        {str(name): value for name, value in zip(names, row, strict=True) if value is not None}
        for row in (zip(*columns, strict=True) if columns else [()] * len(rows))
    )
    return {label: row for label, row in zip(map(int, rows[key]), features, strict=True) if row}


def table_of_facts(facts: Facts, key: str) -> pd.DataFrame:
    """Return features of objects as a table.

    Parameters
    ----------
    key : str
        Name of the column of ids.

    Returns
    -------
    pandas.DataFrame
        One row per object with features, by ascending id.
    """
    import pandas as pd

    rows = [{key: label, **facts[label]} for label in sorted(facts) if facts[label]]
    return pd.DataFrame(rows) if rows else pd.DataFrame({key: np.array([], np.int64)})


def with_facts(table: pd.DataFrame, key: str, facts: Facts) -> pd.DataFrame:
    """Return a table in which some objects have exactly the given features.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per object.
    key : str
        The column of ids.
    facts : mapping of int to mapping of str
        Features by id. An empty mapping removes the object's row.

    Returns
    -------
    pandas.DataFrame
        A new table. Other rows are unchanged.
    """
    import pandas as pd

    kept = table[~table[key].isin(list(facts))]
    new = table_of_facts(facts, key)
    if new.empty:
        return kept.reset_index(drop=True)
    joined = pd.concat([kept, new], ignore_index=True) if len(kept) else new
    return joined.reindex(columns=[*table.columns, *(name for name in new if name not in table)])


def _plain(value: Any) -> Any:
    """Return a cell as a JSON-serialisable value; None if it is empty."""
    if isinstance(value, str):
        return value or None
    if value is None or value != value:
        return None
    return value if isinstance(value, bool | int | float) else str(value)

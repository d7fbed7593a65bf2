"""Features of objects besides their pixels: scores of a model, review state and notes of the user."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Facts", "facts_of_table", "table_of_facts", "with_facts"]

#: Numbers and texts by name, of objects by their ids; of an object without any an empty mapping.
Facts = Mapping[int, Mapping[str, Any]]


def facts_of_table(table: pd.DataFrame, key: str, ids: Collection[int] | None = None) -> dict[int, dict[str, Any]]:
    """Return the features of objects in a table.

    Parameters
    ----------
    table : pandas.DataFrame
        A row for each object; empty cells are left out.
    key : str
        The column that holds the ids.
    ids : collection of int, optional
        The objects; all by default. Background, 0, is left out.

    Returns
    -------
    dict of int to dict
        In plain numbers and texts. Objects that the table does not have are left out.
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
        A row for each object with features, by ascending id.
    """
    import pandas as pd

    rows = [{key: label, **facts[label]} for label in sorted(facts) if facts[label]]
    return pd.DataFrame(rows) if rows else pd.DataFrame({key: np.array([], np.int64)})


def with_facts(table: pd.DataFrame, key: str, facts: Facts) -> pd.DataFrame:
    """Return a table in which some objects have exactly these features.

    Parameters
    ----------
    table : pandas.DataFrame
        A row an object.
    key : str
        The column of ids.
    facts : mapping of int to mapping of str
        By id; an empty mapping takes the object's row away.

    Returns
    -------
    pandas.DataFrame
        A new table; other rows are as they were.
    """
    import pandas as pd

    kept = table[~table[key].isin(list(facts))]
    new = table_of_facts(facts, key)
    if new.empty:
        return kept.reset_index(drop=True)
    joined = pd.concat([kept, new], ignore_index=True) if len(kept) else new
    return joined.reindex(columns=[*table.columns, *(name for name in new if name not in table)])


def _plain(value: Any) -> Any:
    """Return a cell as JSON holds it; None where it is empty."""
    if isinstance(value, str):
        return value or None
    if value is None or value != value:
        return None
    return value if isinstance(value, bool | int | float) else str(value)

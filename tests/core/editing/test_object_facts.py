from __future__ import annotations

import json

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from napari_foundseg.core.editing.object_facts import facts_of_table, table_of_facts, with_facts

values = st.one_of(st.integers(-9, 9), st.floats(-1, 1), st.text("abc", min_size=1, max_size=3))
rows = st.dictionaries(st.sampled_from(["review", "note", "predicted_iou"]), values, max_size=3)
facts = st.dictionaries(st.integers(1, 5), rows, max_size=4)


@given(first=facts, second=facts)
def test_a_table_says_of_each_object_what_it_was_told_last(first: dict, second: dict) -> None:  # type: ignore[type-arg]
    table = with_facts(table_of_facts(first, "index"), "index", second)
    known = facts_of_table(table, "index")
    assert known == {label: row for label, row in (first | second).items() if row}
    assert facts_of_table(table, "index", [2]) == {i: row for i, row in known.items() if i == 2}
    assert json.loads(json.dumps(list(known.values()))) == list(known.values())
    assert table["index"].is_unique


def test_background_and_empty_cells_say_nothing() -> None:
    table = pd.DataFrame({"index": [0, 1, 2], "note": ["", "x", ""], "iou": [0, 0.5, np.nan], "n": [0, 3, None]})
    assert facts_of_table(table, "index") == {1: {"note": "x", "iou": 0.5, "n": 3.0}}
    assert facts_of_table(table, "label") == {}

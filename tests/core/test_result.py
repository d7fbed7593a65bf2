from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_foundseg.core.object_table import TABLE_COLUMNS, object_table
from napari_foundseg.core.result import Segmentation


def table_of(labels: np.ndarray[Any, Any], axes: str = "YX", n: int | None = None) -> pd.DataFrame:
    n = int(labels.max(initial=0)) if n is None else n
    return object_table(labels, axes, predicted_iou=[0.5] * n, stability_score=[0.25] * n)


@given(seed=st.integers(0, 999), n=st.integers(0, 6))
def test_boxes_and_areas(seed: int, n: int) -> None:
    labels = np.random.default_rng(seed).integers(0, n, (9, 11), np.uint16, endpoint=True)
    table = table_of(labels, n=n)
    assert table["label"].tolist() == list(range(1, n + 1))
    for row in table.itertuples():
        y, x = np.nonzero(labels == row.label)
        assert row.area == len(y)
        if len(y):
            assert (row.y0, row.x0, row.y1, row.x1) == (y.min(), x.min(), y.max(), x.max())


@pytest.mark.parametrize("axes", ["TZYX", "YXZT", "ZTXY"])
def test_slices_are_columns(axes: str) -> None:
    at = {"T": 1, "Z": 2, "Y": 3, "X": 4}
    labels = np.zeros([at[a] + 2 for a in axes], np.uint16)
    labels[tuple(at[a] for a in axes)] = 1
    row = table_of(labels, axes).iloc[0]
    assert (row["t"], row["z"], row["y0"], row["x0"]) == (1, 2, 3, 4)


def test_an_empty_result_has_all_columns() -> None:
    labels = np.zeros((4, 5), np.uint16)
    table = table_of(labels)
    assert set(TABLE_COLUMNS) <= set(table)
    assert len(Segmentation(labels, table)) == 0


def test_the_number_of_objects_is_its_length() -> None:
    labels = np.zeros((4, 5), np.uint16)
    labels[0, 0], labels[1, 1] = 1, 3
    assert len(Segmentation(labels, table_of(labels))) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pixels": np.zeros((4, 5), np.uint8)}, "uint16 or wider"),
        ({"pixels": np.zeros((4, 5), np.int32)}, "uint16 or wider"),
        ({"pixels": np.zeros(4, np.uint16)}, "2 or more axes"),
        ({"pixels": np.full((4, 5), 7, np.uint16)}, "label 7 has no row"),
        ({"table": pd.DataFrame({"label": [1]})}, "lacks the columns"),
        ({"semantic": np.zeros((4, 6), np.uint16)}, "semantic has shape"),
    ],
)
def test_an_inconsistent_result_is_refused(change: dict[str, Any], words: str) -> None:
    labels = np.zeros((4, 5), np.uint16)
    labels[0, 0] = 1
    with pytest.raises(ValueError, match=words):
        Segmentation(**({"pixels": labels, "table": table_of(labels)} | change))


def test_two_rows_for_one_label_are_refused() -> None:
    labels = np.ones((4, 5), np.uint16)
    table = pd.concat([table_of(labels)] * 2)
    with pytest.raises(ValueError, match="two rows"):
        Segmentation(labels, table)


def test_provenance_must_be_plain_json() -> None:
    labels = np.zeros((4, 5), np.uint16)
    with pytest.raises(TypeError):
        Segmentation(labels, table_of(labels), provenance={"model": object()})

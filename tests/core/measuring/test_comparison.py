from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_foundseg.core.errors import AxesError
from napari_foundseg.core.measuring.comparison import THRESHOLDS, compare, match_objects

LABELS = arrays(np.uint16, (5, 7), elements=st.sampled_from([0, 0, 1, 2, 3, 40]))


def objects(labels: np.ndarray) -> list[int]:
    return [int(i) for i in np.unique(labels) if i]


def iou(truth: np.ndarray, i: int, found: np.ndarray, j: int) -> float:
    return ((truth == i) & (found == j)).sum() / ((truth == i) | (found == j)).sum()


@given(LABELS, LABELS)
def test_precision_and_dice_are_those_of_the_definition(truth: np.ndarray, found: np.ndarray) -> None:
    matching = match_objects(truth, found)
    table = {(i, j): iou(truth, i, found, j) for i in objects(truth) for j in objects(found)}
    for threshold, precision in zip(THRESHOLDS, matching.precision, strict=True):
        tp = sum(v > threshold for v in table.values())
        fp, fn = len(objects(found)) - tp, len(objects(truth)) - tp
        assert precision == pytest.approx(tp / (tp + fp + fn) if tp + fp + fn else 1)
    a, b = truth > 0, found > 0
    assert matching.dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else 1)
    best = [max((table[i, j] for j in objects(found)), default=0) for i in objects(truth)]
    np.testing.assert_allclose(matching.best, best)


@given(LABELS, LABELS)
def test_every_object_without_a_partner_is_listed(truth: np.ndarray, found: np.ndarray) -> None:
    comparison = compare(truth, found)
    pairs = [(i, j) for i in objects(truth) for j in objects(found) if iou(truth, i, found, j) > 0.5]
    errors = comparison.errors
    wrong = set(objects(truth)) - {i for i, _ in pairs}
    assert set(errors.loc[errors["error"] != "invented", "reference"]) >= wrong
    assert not set(errors.loc[errors["error"] == "missed", "reference"]) - wrong
    invented = set(errors.loc[errors["error"] == "invented", "label"])
    assert invented <= set(objects(found)) - {j for _, j in pairs}
    for j in invented:
        assert all(iou(truth, i, found, j) < 0.1 for i in objects(truth))
    assert bool(len(errors)) == (len(pairs) != max(len(objects(truth)), len(objects(found))))


@given(LABELS)
def test_equal_labels_have_no_error(labels: np.ndarray) -> None:
    comparison = compare(labels, labels * 3)
    assert comparison.errors.empty
    assert comparison.matching.precision.tolist() == [1] * 10
    assert comparison.matching.dice == 1


def test_each_kind_of_error_is_named() -> None:
    truth, found = np.zeros((60, 60), np.uint16), np.zeros((60, 60), np.uint32)
    truth[0:10, 0:10], found[0:10, 0:10] = 1, 11
    truth[20:30, 0:10] = 2  # missed
    found[20:30, 20:30] = 12  # invented
    truth[40:50, 0:10], found[40:45, 0:10], found[45:50, 0:10] = 3, 13, 14  # split in halves
    truth[40:50, 20:30], truth[40:50, 30:40], found[40:50, 20:40] = 4, 5, 15  # merged
    truth[0:10, 40:50], found[0:4, 40:50] = 6, 16  # too small
    truth[0:10, 20:30], found[0:8, 20:30], found[8:10, 20:30] = 7, 17, 18  # a piece cut off
    errors = compare(truth, found).errors
    listed = {(row["error"], row["reference"], row["label"]) for _, row in errors.iterrows()}
    assert listed == {
        ("missed", 2, 0), ("invented", 0, 12), ("split", 3, 13), ("merged", 4, 15), ("merged", 5, 15),
        ("inaccurate", 6, 16), ("split", 7, 18),
    }  # fmt: skip
    where = errors.set_index("error")["position"]
    assert where["missed"] == (24, 4)
    assert where["invented"] == (24, 24)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(AxesError, match=r"\(4, 4\).*\(5, 5\)"):
        compare(np.zeros((4, 4), np.uint8), np.zeros((5, 5), np.uint8))

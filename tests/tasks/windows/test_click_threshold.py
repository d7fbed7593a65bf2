from __future__ import annotations

import numpy as np
import pytest

from napari_foundseg.tasks.windows.click_threshold import click_threshold

LOGITS = np.array([[3.0, 1.2, -0.8, -1.5, -6.0]])


@pytest.mark.parametrize(
    ("columns", "labels"),
    [([0, 3], [1, 0]), ([0, 1], [1, 0]), ([1], [0]), ([2], [1]), ([0, 2, 4], [1, 1, 0]), ([2, 3], [1, 0])],
)
def test_clicks_lie_on_their_side(columns: list[int], labels: list[int]) -> None:
    threshold = click_threshold(LOGITS, [(0, c) for c in columns], labels)
    assert [bool(LOGITS[0, c] > threshold) for c in columns] == [label == 1 for label in labels]


def test_it_stays_where_all_is_well_and_does_not_go_far() -> None:
    assert click_threshold(LOGITS, [(0, 0), (0, 4)], [1, 0]) == 0
    assert click_threshold(LOGITS, [(0, 4)], [1]) == -2
    assert click_threshold(LOGITS, [(0, 0)], [0]) == 2


def test_of_clicks_that_contradict_each_other_the_latest_counts() -> None:
    assert click_threshold(LOGITS, [(0, 2), (0, 1)], [1, 0]) > 1.2
    assert click_threshold(LOGITS, [(0, 1), (0, 2)], [0, 1]) < -0.8

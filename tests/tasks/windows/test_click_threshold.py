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


#: Confidence falls off evenly around a disc of radius 10.
AWAY = np.hypot(*(np.indices((61, 61)) - 30))
ROUND = (10 - AWAY) / 2


@pytest.mark.parametrize(("radius", "click", "label"), [(8, 11, 1), (8, 12, 1), (14, 12, 0), (14, 9, 0)])
def test_what_is_wrong_goes_on_behind_the_latest_click(radius: int, click: int, label: int) -> None:
    outline = radius >= AWAY
    at = (30, 30 + click)
    threshold = click_threshold(ROUND, [at], [label], outline)
    expected = 2 * click - radius
    found = np.sqrt(np.count_nonzero(threshold < ROUND) / np.pi)
    assert abs(found - expected) <= 1.5
    assert (ROUND[at] > threshold) == (label == 1)


def test_a_click_that_corrects_nothing_or_is_contradicted_means_no_more_than_itself() -> None:
    outline = AWAY <= 8
    assert click_threshold(ROUND, [(30, 33)], [1], outline) == 0, "it is on the object already"
    assert click_threshold(ROUND, [(30, 58)], [0], outline) == 0
    both = [(30, 45), (42, 30)]
    threshold = click_threshold(ROUND, both, [0, 1], outline)
    assert threshold == click_threshold(ROUND, both, [0, 1])
    assert [bool(ROUND[at] > threshold) for at in both] == [False, True]
    everywhere = np.ones_like(outline)
    assert click_threshold(ROUND, [(30, 60)], [0], everywhere) <= 4
    assert click_threshold(ROUND, [(30, 59)], [1], AWAY <= 28) >= -4

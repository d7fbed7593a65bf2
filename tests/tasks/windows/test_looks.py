"""Which of two looks at a click is taken, and where it is worth to look again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_foundseg.core.masks import Mask
from napari_foundseg.tasks.windows.looks import Look, middle


def look(level: int, side: int, predicted_iou: float, **others: Any) -> Look:
    """A square about (100, 100), seen at the level that fits it."""
    start = 100 - side // 2
    mask = Mask.from_array(np.ones((side, side)), (start, start), predicted_iou=predicted_iou)
    return Look(level, (0, 0, 255, 255), [mask], **{"cut": False, "fitting": level, **others})


def test_the_same_object_is_taken_where_it_is_seen_best() -> None:
    fine, coarse = look(0, 60, 0.75), look(1, 62, 0.8)
    assert coarse.is_better(fine)
    assert not fine.is_better(coarse)


def test_a_whole_must_be_trusted_clearly_more_than_a_part() -> None:
    nucleus = look(0, 20, 0.75)
    assert not look(2, 100, 0.8).is_better(nucleus)
    assert nucleus.is_better(look(2, 100, 0.8))
    assert look(2, 100, 0.9).is_better(nucleus)
    # A doubtful part is none.
    assert look(2, 100, 0.6).is_better(look(0, 20, 0.55))


@pytest.mark.parametrize("worse", [look(1, 60, 0.95, cut=True), look(1, 60, 0.95, disobeyed=1),
                                   look(1, 60, 0.95, is_picture=True), look(1, 0, 0.95)])  # fmt: skip
def test_a_mask_that_is_cut_disobeys_or_shows_nothing_is_not_taken(worse: Look) -> None:
    assert not worse.is_better(look(0, 50, 0.5))


def test_a_wider_window_is_asked_where_the_mask_is_doubted() -> None:
    assert look(0, 20, 0.5).wants_wider(taken=False, quick=False)
    assert look(0, 90, 0.9, cut=True).wants_wider(taken=False, quick=False)
    assert look(0, 90, 0.7).wants_wider(taken=True, quick=True)
    # Of a small object a finer window knows more; slow windows are not encoded for a little.
    assert not look(0, 20, 0.7, fitting=-2).wants_wider(taken=True, quick=True)
    assert not look(0, 90, 0.7).wants_wider(taken=True, quick=False)
    assert not look(0, 90, 0.9).wants_wider(taken=True, quick=True)


@pytest.mark.parametrize("radius", [1, 20, 300])
def test_the_middle_of_a_mask_is_far_from_its_outline(radius: int) -> None:
    y, x = np.mgrid[: 3 * radius, : 4 * radius]
    found = middle(Mask.from_array(np.hypot(y - radius, x - 2 * radius) < radius, (7, 9)))
    assert np.hypot(found[0] - 7 - radius, found[1] - 9 - 2 * radius) <= max(2, radius / 15)

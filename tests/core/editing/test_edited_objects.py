from __future__ import annotations

import numpy as np
import pytest

from napari_foundseg.core.editing.edited_objects import edited_facts

COLUMNS = ["index", "class", "predicted_iou", "z", "y0", "x0", "y1", "x1", "area", "volume (µm³)"]


@pytest.mark.parametrize("count", [1, 40])
def test_geometry_is_measured_and_scores_are_dropped(count: int) -> None:
    labels = np.zeros((6, 20, 8 * count), np.uint16)
    ids = range(1, count + 1)
    for i in ids:
        labels[1:4, 2:9, 8 * i - 6 : 8 * i] = i
    old = {"class": 3, "predicted_iou": 0.9, "z": 0, "y0": 0, "x0": 0, "y1": 1, "x1": 1, "area": 4, "note": "mine"}
    before = {i: old | {"volume (µm³)": 8.0} for i in ids}
    box = (slice(2, 3), slice(2, 9), slice(0, labels.shape[2]))
    found = edited_facts(labels, "ZYX", COLUMNS, before, {}, ids, [box], lambda i: int((labels == i).sum()))
    for i in ids:
        assert found[i] == {
            "class": 3, "note": "mine", "z": 1, "y0": 2, "x0": 8 * i - 6, "y1": 8, "x1": 8 * i - 1, "area": 126
        }  # fmt: skip


def test_a_part_far_from_what_was_known_is_found() -> None:
    labels = np.zeros((30, 30), np.uint16)
    labels[2:4, 2:4] = 5
    labels[25:27, 25:27] = 5
    known = {5: {"y0": 2, "x0": 2, "y1": 3, "x1": 3, "area": 4}}
    box = (slice(3, 4), slice(3, 4))
    found = edited_facts(labels, "YX", COLUMNS, known, {}, [5], [box], lambda _: 8)
    assert found[5] == {"y0": 2, "x0": 2, "y1": 26, "x1": 26, "area": 8}


def test_what_was_just_said_of_an_object_stays() -> None:
    labels = np.ones((3, 3), np.uint8)
    found = edited_facts(
        labels, "YX", ["predicted_iou"], {1: {"predicted_iou": 0.5}}, {1: {"predicted_iou": 0.7}}, [1], [], lambda _: 9
    )
    assert found == {1: {"predicted_iou": 0.7}}


def test_measurements_of_an_object_before_its_edit_are_dropped() -> None:
    labels = np.ones((3, 3), np.uint8)
    old = {
        "y": 0.5,
        "x": 0.5,
        "solidity": 1.0,
        "sum intensity DAPI": 9.0,
        "perimeter (µm)": 4.0,
        "pixels": 4,
        "note": "a",
    }
    found = edited_facts(labels, "YX", list(old), {1: old}, {}, [1], [(slice(0, 3), slice(0, 3))], lambda _: 9)
    assert found == {1: {"pixels": 9, "note": "a"}}

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_foundseg.core.editing import edits
from napari_foundseg.core.editing.each_object import edit_each
from napari_foundseg.core.editing.edit_progress import EditCancelled, EditProgress
from napari_foundseg.core.editing.object_boxes import object_boxes
from napari_foundseg.core.errors import PromptError

SPACING = (1.0, 0.5)
EDITS: dict[str, Any] = {
    "grow": lambda la, i: edits.grow(la, i, 2, SPACING),
    "shrink": lambda la, i: edits.grow(la, i, -0.6, SPACING),
    "smooth": lambda la, i: edits.smooth(la, i, 1.0, SPACING),
    "fill holes": lambda la, i: edits.fill_holes(la, i, SPACING),
    "keep largest": edits.keep_largest,
}


def touching(dtype: Any = np.uint16) -> Any:
    """Objects that touch one another and the edges, with holes and in pieces."""
    rng = np.random.default_rng(4)
    labels = np.zeros((90, 120), dtype)
    for label in range(1, 40):
        y, x = rng.integers(0, 80), rng.integers(0, 110)
        labels[y : y + 12, x : x + 12] = label
        labels[y + 4 : y + 6, x + 4 : x + 6] = 0
    labels[:1, :2] = labels.max()
    return labels


def is_possible(name: str, labels: Any, label: int) -> bool:
    """Tell whether anything would be left of an object."""
    try:
        EDITS[name](labels, label)
    except PromptError:
        return False
    return True


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("dtype", [np.uint16, np.int64])
def test_many_objects_at_once_are_as_one_after_the_other(name: str, dtype: Any) -> None:
    labels = touching(dtype)
    ids = [int(i) for i in np.random.default_rng(0).permutation(np.unique(labels)[1:])]
    ids = [i for i in ids if is_possible(name, labels, i)]
    expected = labels.copy()
    for label in ids:
        for box, values in EDITS[name](expected, label):
            expected[box] = values
    progress = EditProgress()
    ((box, values),) = edit_each(labels, ids, EDITS[name], [5, 9], progress)
    after = labels.copy()
    after[box] = values
    np.testing.assert_array_equal(after, expected)
    assert (after != labels).any()
    assert 0.9 < progress.done < 1


def test_an_edit_can_be_cancelled_and_names_what_is_not_there() -> None:
    labels = touching()
    progress = EditProgress()
    progress.cancel()
    with pytest.raises(EditCancelled):
        edit_each(labels, [1, 2], EDITS["grow"], [5, 9], progress)
    with pytest.raises(PromptError, match="no object 70"):
        edit_each(labels, [1, 70], EDITS["grow"], [5, 9])


def test_boxes_are_those_of_a_whole_search(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.stack([touching(), np.roll(touching(), 3, 0)])
    expected = object_boxes(labels)
    monkeypatch.setattr("napari_foundseg.core.editing.object_boxes._PART", 7)
    assert object_boxes(labels) == expected

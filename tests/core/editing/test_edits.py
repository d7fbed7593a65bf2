from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from napari_foundseg.core.editing import edits, split_edits
from napari_foundseg.core.editing.object_boxes import box_of, object_boxes
from napari_foundseg.core.errors import PromptError


def scene(seed: int, shape: tuple[int, ...] = (30, 34), count: int = 6) -> NDArray[np.uint16]:
    """Balls about random middles, each over those before it."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint16)
    at = np.indices(shape)
    for i in range(1, count + 1):
        middle = rng.uniform(0, shape).reshape(-1, *[1] * len(shape))
        labels[((at - middle) ** 2).sum(0) < rng.uniform(2, 7) ** 2] = i
    return labels


def written(labels: NDArray[Any], pieces: edits.Pieces) -> NDArray[Any]:
    out = labels.astype(np.uint64)
    for box, values in pieces:
        out[box] = values
    return out


EDITS = {
    "fill holes": lambda la, i, s: edits.fill_holes(la, i, s),
    "smooth": lambda la, i, s: edits.smooth(la, i, 1.5, s),
    "grow": lambda la, i, s: edits.grow(la, i, 2.5, s),
    "shrink": lambda la, i, s: edits.grow(la, i, -1, s),
    "keep largest": lambda la, i, _: edits.keep_largest(la, i),
    "delete": lambda la, i, _: edits.delete(la, [i]),
}


@given(seed=st.integers(0, 300), name=st.sampled_from(list(EDITS)), volume=st.booleans())
def test_no_other_object_changes(seed: int, name: str, volume: bool) -> None:
    labels = scene(seed, (8, 20, 22) if volume else (30, 34))
    spacing = [3.0, 1.0, 1.0] if volume else [1.0, 1.0]
    label = int(np.unique(labels)[-1])
    before = labels.copy()
    try:
        after = written(labels, EDITS[name](labels, label, spacing))
    except PromptError:
        assert name == "shrink"
        return
    np.testing.assert_array_equal(labels, before)
    others = (labels != label) & (labels != 0)
    np.testing.assert_array_equal(after[others], labels[others])
    assert set(np.unique(after)) <= {*np.unique(labels), 0}


def test_growing_counts_in_the_unit_of_the_spacing() -> None:
    labels = np.zeros((15, 41, 41), np.uint16)
    labels[7, 20, 20] = 1
    grown = written(labels, edits.grow(labels, 1, 6.0, [3.0, 1.0, 1.0])) == 1
    assert [int(grown.any(tuple(a for a in range(3) if a != axis)).sum()) for axis in range(3)] == [5, 13, 13]
    back = written(grown.astype(np.uint16), edits.grow(grown.astype(np.uint16), 1, -5.0, [3.0, 1.0, 1.0]))
    assert back[7, 20, 20] == 1
    assert back.sum() < 30
    with pytest.raises(PromptError, match="Nothing of object 1 would be left"):
        edits.grow(labels, 1, -1, [3.0, 1.0, 1.0])


def test_time_is_no_direction_to_grow_in() -> None:
    labels = np.zeros((3, 20, 20), np.uint16)
    labels[1, 10, 10] = 1
    grown = written(labels, edits.grow(labels, 1, 4, [None, 1.0, 1.0]))
    assert grown[1].sum() > 40
    assert not grown[[0, 2]].any()


def test_holes_are_filled_but_not_what_lies_in_them() -> None:
    labels = np.zeros((20, 20), np.uint16)
    labels[2:18, 2:18] = 1
    labels[5:15, 5:15] = 0
    labels[8:10, 8:10] = 2
    after = written(labels, edits.fill_holes(labels, 1, [1, 1]))
    assert (after == 2).sum() == 4
    assert (after == 1).sum() == 16 * 16 - 4


@given(seed=st.integers(0, 200))
def test_merging_and_renumbering_keep_every_pixel_an_objects(seed: int) -> None:
    labels = scene(seed)
    ids = [int(i) for i in np.unique(labels)[1:]]
    if len(ids) < 3:
        return
    merged = written(labels, edits.merge(labels, [ids[2], ids[0]]))
    assert (merged > 0).sum() == (labels > 0).sum()
    np.testing.assert_array_equal(merged == ids[2], np.isin(labels, [ids[0], ids[2]]))
    small = merged.astype(np.uint16)
    after = written(small, edits.renumber(small, sorted({*np.unique(small).tolist()} - {0})))
    assert np.unique(after).tolist() == list(range(len(ids)))
    np.testing.assert_array_equal(after > 0, labels > 0)


def test_renumbering_copes_with_ids_of_any_size() -> None:
    labels = np.array([[0, 5, 2**40, 5, 7]], np.uint64)
    assert written(labels, edits.renumber(labels, [5, 7, 2**40])).tolist() == [[0, 1, 3, 1, 2]]
    assert edits.renumber(np.array([[0, 1, 2]], np.uint16), [1, 2]) == []


def test_objects_in_one_another_s_boxes_all_go() -> None:
    labels = np.zeros((20, 20), np.uint16)
    labels[2:4, 2:18] = labels[2:18, 2:4] = 1
    labels[6:9, 6:9] = 2
    labels[12:17, 12:17] = 3
    assert not written(labels, edits.delete(labels, [1, 2, 3])).any()
    assert set(np.unique(written(labels, edits.merge(labels, [2, 1, 3])))) == {0, 2}


def dumbbell(volume: bool = False) -> NDArray[np.uint16]:
    labels = np.zeros((9, 40, 60), np.uint16)
    z, y, x = np.ogrid[:9, :40, :60]
    for middle in (18, 40):
        labels[(z - 4) ** 2 * 4 + (y - 20) ** 2 + (x - middle) ** 2 < 12.5**2] = 3
    labels[4, 1:4, 1:4] = 7
    return labels if volume else labels[4]


@pytest.mark.parametrize("volume", [False, True])
def test_two_points_split_at_the_waist(volume: bool) -> None:
    labels = dumbbell(volume)
    lead = (4,) if volume else ()
    spacing = [2.0, 1.0, 1.0] if volume else [1.0, 1.0]
    after = written(labels, split_edits.split(labels, 3, [(*lead, 20, 15), (*lead, 20, 44)], spacing, 8))
    assert set(np.unique(after)) == {0, 3, 7, 8}
    np.testing.assert_array_equal(np.isin(after, [3, 8]), labels == 3)
    assert np.nonzero(after == 3)[-1].max() <= 30
    assert np.nonzero(after == 8)[-1].min() >= 28
    for part in (3, 8):
        assert ndimage.label(after == part)[1] == 1


def test_points_outside_the_object_split_nothing() -> None:
    labels = dumbbell()
    with pytest.raises(PromptError, match="is not in object 3"):
        split_edits.split(labels, 3, [(20, 15), (0, 0)], [1, 1], 8)
    with pytest.raises(PromptError, match="once in each"):
        split_edits.split(labels, 3, [(20, 15), (20.2, 15.1)], [1, 1], 8)


@pytest.mark.parametrize("volume", [False, True])
def test_a_line_cuts_where_it_is_drawn(volume: bool) -> None:
    labels = dumbbell(volume)
    lead = (4,) if volume else ()
    plane = (1, 2) if volume else (0, 1)
    after = written(labels, split_edits.split_by_line(labels, 3, (*lead, 2, 24), (*lead, 38, 24), plane, 8))
    np.testing.assert_array_equal(np.isin(after, [3, 8]), labels == 3)
    assert np.nonzero(after == 8)[-1].max() in (23, 24)
    assert np.nonzero(after == 3)[-1].min() in (24, 25)
    with pytest.raises(PromptError, match="does not cut object 3"):
        split_edits.split_by_line(labels, 3, (*lead, 19, 24), (*lead, 21, 24), plane, 8)
    with pytest.raises(PromptError, match="does not cut object 3"):
        split_edits.split_by_line(labels, 3, (*lead, 0, 0), (*lead, 1, 0), plane, 8)


def test_the_largest_part_is_kept() -> None:
    labels = np.zeros((10, 10), np.uint16)
    labels[1:3, 1:3], labels[5:9, 5:9] = 4, 4
    after = written(labels, edits.keep_largest(labels, 4))
    assert after.sum() == 16 * 4
    assert not after[:4].any()


def test_an_object_that_is_not_there_is_named() -> None:
    with pytest.raises(PromptError, match="no object 5"):
        edits.delete(np.zeros((4, 4), np.uint16), [5])


@given(seed=st.integers(0, 300))
def test_parts_of_objects_go_and_nothing_else(seed: int) -> None:
    labels = np.stack([scene(seed), scene(seed + 1)])  # two points in time
    gone = [(i, box) for i, box in object_boxes(labels[1]).items() if i % 2]
    parts = [(i, (slice(1, 2), *box)) for i, box in gone]
    after = written(labels, edits.delete_parts(labels, parts))
    np.testing.assert_array_equal(after[0], labels[0])
    np.testing.assert_array_equal(after[1], np.where(labels[1] % 2, 0, labels[1]))


@given(seed=st.integers(0, 300), ids=st.lists(st.integers(1, 7), min_size=1, max_size=3))
def test_the_box_of_objects_holds_them_and_no_more(seed: int, ids: list[int]) -> None:
    labels = scene(seed)
    places = np.argwhere(np.isin(labels, ids))
    box = box_of(labels, ids)
    assert (box is None) == (not len(places))
    if box is not None:
        assert [(p.start, p.stop - 1) for p in box] == list(zip(places.min(0), places.max(0), strict=True))

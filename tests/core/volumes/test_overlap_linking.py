"""Sections linked by overlap: which bodies become one object, and which do not."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import disk

from napari_foundseg.core.volumes.overlap_linking import bridge_gaps, link_planes, linked_planes


def link(planes: Any, **options: Any) -> NDArray[Any]:
    links = link_planes(planes, **options)
    return np.stack(list(linked_planes(planes, links, np.dtype(np.uint32))))


def discs(radii: list[float], at: tuple[float, float] = (40, 40), side: int = 80) -> NDArray[np.uint16]:
    stack = np.zeros((len(radii), side, side), np.uint16)
    for plane, radius in zip(stack, radii, strict=True):
        if radius:
            plane[disk(at, radius, shape=plane.shape)] = 1
    return stack


def ids(found: NDArray[Any]) -> list[int]:
    return np.unique(found[found > 0]).tolist()


def same_partition(one: NDArray[Any], other: NDArray[Any]) -> bool:
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def cells(seed: int = 0) -> NDArray[np.uint16]:
    """Balls in a stack, all apart."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((20, 90, 90), np.uint16)
    z, y, x = np.indices(truth.shape)
    for label in range(1, 40):
        centre, radius = rng.uniform(0, (20, 90, 90)), rng.uniform(4, 9)
        ball = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < radius**2
        if not truth[ndimage.binary_dilation(ball, iterations=3)].any():
            truth[ball] = label
    return truth


def sections_of(truth: NDArray[Any]) -> NDArray[np.uint16]:
    """Number the objects of each slice from 1 on."""
    return np.stack([np.unique(p, return_inverse=True)[1].reshape(p.shape) for p in truth]).astype(np.uint16)


def test_a_cone_is_one_object_either_way_up() -> None:
    cone = discs([28, 12, 5, 2])
    assert ids(link(cone)) == [1]
    assert ids(link(cone[::-1])) == [1]
    assert ids(link(discs([2, 5, 12, 28, 12, 5, 2]))) == [1]


def test_bodies_far_apart_never_share_an_id() -> None:
    """Each slice has the number 1: an empty slice between is no reason to begin again."""
    stack = np.concatenate([discs([9], (20, 20)), discs([0]), discs([9], (60, 60)), discs([9], (20, 20))])
    found = link(stack)
    assert len(ids(found)) == 3
    for label in ids(found):
        assert ndimage.label(found == label, np.ones((3, 3, 3)))[1] == 1


@pytest.mark.parametrize("empty", [[0], [4], [9], [0, 1], list(range(10))])
def test_empty_slices_are_no_error(empty: list[int]) -> None:
    stack = discs([10] * 10)
    stack[empty] = 0
    found = link(stack)
    assert found.shape == stack.shape
    assert np.array_equal(found > 0, stack > 0)
    assert len(ids(found)) == (0 if len(empty) == 10 else 1)


def test_a_missing_slice_is_bridged_but_not_two() -> None:
    one = discs([10, 10, 10, 0, 10, 10, 10])
    assert ids(link(one)) == [1]
    assert len(ids(link(discs([10, 10, 10, 0, 0, 10, 10, 10])))) == 2
    assert len(ids(link(discs([10, 10, 10, 0, 10, 10, 10]), distance=30.0))) == 2, "far slices"
    ends = discs([10, 8, 4, 0, 4, 8, 10])
    assert len(ids(link(ends))) == 2, "both taper off towards the gap"


@pytest.mark.parametrize("neck", [4, 3, 0])
def test_a_column_of_cells_is_parted_at_its_necks(neck: float) -> None:
    heights = [6, 9, 10, 10, 9, 6, neck]
    stack = discs((heights * 10)[:-1])
    found = link(stack)
    assert len(ids(found)) >= 9
    for label in ids(found):
        where = np.flatnonzero((found == label).any((1, 2)))
        assert where[-1] - where[0] < 2 * len(heights)


def test_a_tube_that_bends_and_changes_its_width_is_one_object() -> None:
    stack = np.zeros((40, 100, 100), np.uint8)
    for z, plane in enumerate(stack):
        plane[disk((50 + 25 * np.sin(z / 6), 50 + 15 * np.cos(z / 9)), 10 + 2.5 * np.sin(z / 3))] = z + 1
    assert ids(link(stack)) == [1]


def test_an_object_that_one_slice_shows_in_two_is_one() -> None:
    stack = discs([12] * 9)
    stack[4][:, 40:][stack[4][:, 40:] > 0] = 2
    stack[8][:, 45:][stack[8][:, 45:] > 0] = 7
    assert ids(link(stack)) == [1]


def test_two_objects_that_one_slice_shows_as_one_are_divided_there() -> None:
    stack = np.zeros((9, 40, 60), np.uint16)
    stack[:, 10:30, 10:30] = 1
    stack[:, 10:30, 30:50] = 2
    truth = stack.copy()
    stack[4][stack[4] > 0] = 5
    found = link(stack)
    assert same_partition(found, truth)


def test_the_best_choice_of_all_is_taken_not_the_best_of_each() -> None:
    """A wide section lies over two: which it goes on in depends on all slices, in either direction."""
    truth = cells(3)
    found = link(sections_of(truth))
    turned = link(sections_of(truth)[::-1])[::-1]
    assert same_partition(found, turned)
    assert same_partition(found, truth)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_numbers_and_types_of_the_slices_change_nothing(dtype: Any) -> None:
    rng = np.random.default_rng(1)
    sections = sections_of(cells(1))
    largest = int(np.iinfo(dtype).max)
    numbered = np.zeros(sections.shape, dtype)
    for plane, out in zip(sections, numbered, strict=True):
        count = int(plane.max())
        values = [largest - i for i in rng.permutation(count).tolist()]
        out[:] = np.array([0, *values], dtype)[plane]
    assert np.array_equal(link(sections) > 0, sections > 0)
    assert same_partition(link(numbered), link(sections))


def test_only_objects_of_one_class_are_linked() -> None:
    stack = discs([10] * 4)
    assert len(ids(link(stack, classes=[1, 1, 2, 2]))) == 2


def test_a_stack_is_read_slice_by_slice_in_little_memory() -> None:
    plane = np.zeros((400, 400), np.int32)
    plane[50:90, 50:90] = 5
    plane[200:300, 200:260] = 2_000_000_000

    class Lazy:
        def __iter__(self) -> Iterator[NDArray[np.int32]]:
            return (plane.copy() for _ in range(120))

    tracemalloc.start()
    links = link_planes(Lazy())
    count = sum(int(out.max()) for out in linked_planes(Lazy(), links, np.dtype(np.uint16)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert links.count == 2
    assert count == 2 * 120
    assert peak < 40 * plane.nbytes, "a third of the stack"


def test_time_is_not_taken_for_a_body() -> None:
    """Along time nothing is parted where it shrinks for a moment."""
    film = discs([12, 12, 5, 12, 12])
    assert ids(link(film, bodies=False)) == [1]
    assert len(ids(link(film))) == 2


def test_objects_of_a_volume_that_a_missing_slice_parts_are_one() -> None:
    labels = discs([10, 10, 0, 10, 10]).astype(np.int32)
    labels[3:] *= 2
    assert bridge_gaps(labels, 1.0).tolist() == [0, 1, 1]
    assert bridge_gaps(np.zeros((3, 5, 5), np.int32), 1.0).tolist() == [0]

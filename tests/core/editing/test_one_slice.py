"""Edits in volumes: other objects keep their voxels, volumes are conserved, and one slice can be changed alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_foundseg.core.editing import edits, split_edits
from napari_foundseg.core.editing.one_slice import changed_slices, in_box

ANISOTROPIC = [3.0, 1.0, 1.0]
#: Ids as they are, and near the largest that a type holds.
IDS = [(1, 2), (5, 2_000_000_000)]

EDITS: dict[str, Callable[[Any, int, edits.Spacing], edits.Pieces]] = {
    "grow": lambda la, i, s: edits.grow(la, i, 3, s),
    "smooth": lambda la, i, s: edits.smooth(la, i, 2, s),
    "fill holes": edits.fill_holes,
    "keep largest": lambda la, i, _: edits.keep_largest(la, i),
}


def bodies(seed: int, ids: tuple[int, int]) -> np.ndarray:
    """Draw two balls that may touch, in slices three pixels apart."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:8, :24, :32]
    labels = np.zeros(z.shape, np.uint32)
    for label, (cy, cx) in zip(ids, rng.uniform((8, 8), (16, 24), (2, 2)), strict=True):
        ball = np.sqrt((3 * (z - rng.uniform(3, 5))) ** 2 + (y - cy) ** 2 + (x - cx) ** 2) < rng.uniform(5, 9)
        labels[ball & (labels == 0)] = label
    return labels


def written(labels: np.ndarray, pieces: Any) -> np.ndarray:
    out = labels.copy()
    for where, values in pieces:
        out[where] = values
    return out


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), name=st.sampled_from(sorted(EDITS)), ids=st.sampled_from(IDS))
def test_no_other_object_changes_in_a_volume_or_in_one_slice(seed: int, name: str, ids: tuple[int, int]) -> None:
    labels = bodies(seed, ids)
    own, other = ids
    for label in ids:
        if not (labels == label).any():
            return
    whole = written(labels, EDITS[name](labels, own, ANISOTROPIC))
    np.testing.assert_array_equal(whole == other, labels == other)
    at = int(np.flatnonzero((labels == own).any((1, 2)))[0])
    box = (slice(at, at + 1), slice(0, 24), slice(0, 32))
    pieces = in_box(EDITS[name](labels[box], own, [None, 1.0, 1.0]), box)
    one = written(labels, pieces)
    np.testing.assert_array_equal(one == other, labels == other)
    np.testing.assert_array_equal(np.delete(one, at, 0), np.delete(labels, at, 0))
    assert changed_slices(labels, pieces, (1, 2)) == int((one[at] != labels[at]).any())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), ids=st.sampled_from(IDS))
def test_merging_and_splitting_in_3d_conserve_all_voxels(seed: int, ids: tuple[int, int]) -> None:
    labels = bodies(seed, ids)
    own, other = ids
    places = [np.argwhere(labels == label) for label in ids]
    if not all(map(len, places)):
        return
    merged = written(labels, edits.merge(labels, ids))
    np.testing.assert_array_equal(merged == own, labels > 0)
    # Clicks in different slices: the first voxel of one and the last of the other.
    clicks = [places[0][0], places[1][-1]]
    if clicks[0][0] == clicks[1][0]:
        return
    parted = written(merged, split_edits.split(merged, own, clicks, ANISOTROPIC, other))
    np.testing.assert_array_equal(parted > 0, labels > 0)
    assert set(np.unique(parted)) == {0, own, other}
    assert parted[tuple(clicks[0])] == own
    assert parted[tuple(clicks[1])] == other


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_counted_along_any_axis(axis: int) -> None:
    labels = bodies(3, (1, 2))
    pieces = edits.delete(labels, [1])
    plane = [k for k in range(3) if k != axis]
    assert changed_slices(labels, pieces, plane) == int((labels == 1).any(axis=tuple(plane)).sum())

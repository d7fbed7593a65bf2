from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_foundseg.core.classes.linking import linked
from napari_foundseg.core.classes.panoptic import Panoptic, fused, grouped, panoptic_ids, panoptic_quality
from napari_foundseg.core.classes.stitching import Window, stitched
from napari_foundseg.core.errors import SettingsError
from napari_foundseg.core.masks import Mask

THINGS, STUFF = (1, 2), (3, 4)


def scene(
    seed: int, shape: tuple[int, int] = (120, 150), objects: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return classes, objects and the objects' centres: discs on two kinds of stuff."""
    rng = np.random.default_rng(seed)
    semantic = np.full(shape, 3, np.uint8)
    semantic[:, shape[1] // 2 :] = 4
    labels = np.zeros(shape, np.uint16)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    centres = []
    for _ in range(objects * 20):
        y, x, r = rng.integers(12, shape[0] - 12), rng.integers(12, shape[1] - 12), rng.integers(5, 11)
        disc = (yy - y) ** 2 + (xx - x) ** 2 <= r**2
        if len(centres) < objects and not labels[disc].any():
            centres.append((y, x))
            labels[disc] = len(centres)
            semantic[disc] = 1 + len(centres) % 2
    return semantic, labels, np.array(centres)


def same_objects(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def masks_of(semantic: np.ndarray, labels: np.ndarray) -> list[Mask]:
    return [
        Mask.from_array(labels == i, predicted_iou=1 - i / 100, class_id=int(semantic[labels == i][0]))
        for i in range(1, int(labels.max()) + 1)
    ]


@settings(max_examples=15)
@given(seed=st.integers(0, 100))
def test_fusion_gives_the_truth_back(seed: int) -> None:
    semantic, labels, _ = scene(seed)
    found = fused(semantic, masks_of(semantic, labels), stuff=STUFF, stuff_area=0)
    assert np.array_equal(found.semantic, semantic)
    assert np.array_equal(found.labels, labels)
    assert panoptic_quality((found.semantic, found.labels), (semantic, labels), things=THINGS).mean == 1


def test_fusion_by_its_rules() -> None:
    semantic = np.full((20, 40), 3, np.uint8)
    semantic[:5, :5] = 4
    big, half, small = (np.zeros((20, 40), bool) for _ in range(3))
    big[:, 10:30], half[:, 20:40], small[:, 28:32] = True, True, True
    masks = [
        Mask.from_array(half, predicted_iou=0.8, class_id=2),
        Mask.from_array(big, predicted_iou=0.9, class_id=1),
        Mask.from_array(small, predicted_iou=0.7, class_id=1),
        Mask.from_array(small, predicted_iou=0.4, class_id=1),
    ]
    found = fused(semantic, masks, stuff=STUFF, overlap_threshold=0.5, stuff_area=26)
    assert found.classes.tolist() == [1, 2]
    assert found.scores.tolist() == [0.9, 0.8]
    assert (found.labels == 1).sum() == 400
    assert (found.labels == 2).sum() == 200
    assert not (found.semantic == 4).any(), "25 pixels of stuff are too few"
    assert (found.semantic == 0).sum() == 25
    none = fused(semantic, masks, stuff=STUFF, score_threshold=0.95, stuff_area=0)
    assert np.array_equal(none.semantic, semantic)
    only = fused(semantic, masks, stuff=STUFF, overlap_threshold=0.1)
    assert only.classes.tolist() == [1]


@settings(max_examples=15)
@given(seed=st.integers(0, 100))
def test_centres_and_offsets_give_the_truth_back(seed: int) -> None:
    semantic, labels, centres = scene(seed)
    heat = np.zeros(semantic.shape, np.float32)
    offsets = np.zeros((2, *semantic.shape), np.float32)
    for i, (y, x) in enumerate(centres, 1):
        heat[y, x] = 1 - i / 100
        own = np.argwhere(labels == i)
        offsets[:, labels == i] = ((y, x) - own).T
    found = grouped(heat, offsets, semantic, things=THINGS, stuff_area=0)
    assert same_objects(found.labels, labels)
    assert np.array_equal(found.semantic, semantic)
    assert found.scores.tolist() == pytest.approx([1 - i / 100 for i in range(1, len(centres) + 1)])
    assert panoptic_quality((found.semantic, found.labels), (semantic, labels), things=THINGS).mean == 1


def test_centres_below_the_threshold_or_beyond_the_number_are_not_taken() -> None:
    semantic, _, centres = scene(3)
    heat = np.zeros(semantic.shape, np.float32)
    heat[tuple(centres.T)] = np.linspace(0.9, 0.05, len(centres))
    zero = np.zeros((2, *semantic.shape), np.float32)
    assert len(grouped(heat, zero, semantic, things=THINGS).classes) == (heat > 0.1).sum()
    assert len(grouped(heat, zero, semantic, things=THINGS, top_k=2).classes) == 2
    nothing = grouped(np.zeros_like(heat), zero, semantic, things=THINGS)
    assert not nothing.labels.any()
    assert not np.isin(nothing.semantic, THINGS).any()
    assert not (grouped(heat, zero, semantic, things=THINGS, stuff_area=10**6).semantic > 2).any()


def test_a_centre_is_the_highest_in_its_neighbourhood() -> None:
    heat = np.zeros((20, 20), np.float32)
    heat[5, 5], heat[5, 7], heat[15, 15] = 0.9, 0.8, 0.7
    semantic = np.ones((20, 20), np.uint8)
    zero = np.zeros((2, 20, 20), np.float32)
    assert len(grouped(heat, zero, semantic, things=(1,), nms_kernel=7).classes) == 2
    assert len(grouped(heat, zero, semantic, things=(1,), nms_kernel=3).classes) == 3


def test_a_panoptic_id_says_class_and_object() -> None:
    semantic, labels, _ = scene(2)
    ids = panoptic_ids(semantic, labels, divisor=100)
    assert np.array_equal(ids // 100, semantic)
    assert same_objects(ids[labels > 0], labels[labels > 0])
    assert set(np.unique(ids[labels == 0])) == {300, 400}
    for number in THINGS:
        own = np.unique(ids[semantic == number] % 100)
        assert own.tolist() == list(range(1, len(own) + 1))
    with pytest.raises(SettingsError, match="larger divisor"):
        panoptic_ids(semantic, labels, divisor=2)
    with pytest.raises(SettingsError, match="smaller"):
        panoptic_ids(semantic, labels, divisor=2**31)


@pytest.mark.parametrize("seed", range(6))
def test_panoptic_quality_is_torchmetrics(seed: int) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.detection import PanopticQuality

    rng = np.random.default_rng(seed)
    semantic, labels, _ = scene(seed)
    guess, objects = np.roll(semantic, rng.integers(0, 4), 0), np.roll(labels, rng.integers(0, 4), 1)
    guess = np.where((objects > 0) & (rng.random(7)[objects % 7] < 0.3), 3, guess).astype(np.uint8)
    objects = np.where(np.isin(guess, THINGS), objects, 0)
    semantic[:20, :30] = 0  # nobody knows
    labels[:20, :30] = 0
    oracle = PanopticQuality(set(THINGS), set(STUFF), allow_unknown_preds_category=True, return_per_class=True)
    pairs = [
        torch.as_tensor(np.stack([a, b], -1).astype(np.int64))[None] for a, b in ((guess, objects), (semantic, labels))
    ]
    expected = oracle(*pairs)[0].numpy()
    found = panoptic_quality((guess, objects), (semantic, labels), things=THINGS)
    order = [*THINGS, *STUFF]
    for number, value in zip(order, expected, strict=True):
        if number in found.classes:
            assert found.of(number) == pytest.approx(value, abs=1e-6)


def cut(semantic: np.ndarray, labels: np.ndarray, side: int, overlap: int) -> list[Window]:
    from napari_foundseg.tasks.windows.tiling import cover, part

    windows = []
    for box, core in cover(semantic.shape, (side, side), overlap):
        own = part(labels, box)
        ids, numbers = np.unique(own, return_inverse=True)
        ids = ids[ids > 0]
        numbers = np.searchsorted(np.concatenate([[0], ids]), own).astype(np.uint16)
        classes = np.array([semantic[labels == i][0] for i in ids], np.int64)
        windows.append(Window(box, core, Panoptic(numbers, part(semantic, box).copy(), classes, np.ones(len(ids)))))
    return windows


@settings(max_examples=15)
@given(seed=st.integers(0, 60), side=st.sampled_from([48, 64, 90]))
def test_windows_are_stitched_without_a_seam(seed: int, side: int) -> None:
    semantic, labels, _ = scene(seed, objects=9)
    found = stitched(cut(semantic, labels, side, 24), semantic.shape)
    assert np.array_equal(found.semantic, semantic)
    assert same_objects(found.labels, labels)
    for i in range(1, int(found.labels.max()) + 1):
        assert found.classes[i - 1] == semantic[found.labels == i][0]
    assert found.scores == pytest.approx(1)


def test_neighbours_of_different_classes_are_not_joined_at_a_seam() -> None:
    semantic = np.ones((20, 100), np.uint8)
    labels = np.ones((20, 100), np.uint16)
    windows = cut(semantic, labels, 60, 20)
    other = windows[1].found
    windows[1] = Window(
        windows[1].box, windows[1].core, other._replace(classes=np.array([2]), semantic=other.semantic * 2)
    )
    found = stitched(windows, (20, 100))
    assert found.classes.tolist() == [1, 2]


def stack(*planes: Any) -> np.ndarray:
    return np.stack([np.asarray(plane, np.uint16) for plane in planes])


def test_objects_are_linked_where_they_lie_on_one_another() -> None:
    labels = np.zeros((4, 10, 20), np.uint16)
    labels[0, 2:8, 2:8], labels[1, 2:8, 3:9], labels[2, 2:8, 3:9] = 1, 2, 3
    labels[1, 2:8, 12:18], labels[3, 2:8, 2:8] = 4, 5
    found, parts = linked(labels, np.array([1, 1, 2, 1, 1]))
    assert parts.tolist() == [1, 1, 2, 3, 4], "the third is of another class, and an empty slice parts objects"
    assert np.array_equal(found > 0, labels > 0)
    assert (found == 1).any(axis=(1, 2)).tolist() == [True, True, False, False]
    same, _ = linked(np.moveaxis(labels, 0, 2), np.array([1, 1, 2, 1, 1]), axis=2)
    assert np.array_equal(np.moveaxis(same, 2, 0), found)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_foundseg.core.classes.components import components
from napari_foundseg.core.classes.concept_maps import concept_components, concept_pixels, smoothed

EIGHT = np.ones((3, 3))


def maps_of(seed: int, concepts: int = 3, shape: tuple[int, int] = (70, 41)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.round(rng.random((concepts, *shape)), 1).astype(np.float16)


@given(seed=st.integers(0, 500), classes=st.integers(1, 4), height=st.integers(1, 12), width=st.integers(1, 12))
def test_components_are_scipys_class_by_class(seed: int, classes: int, height: int, width: int) -> None:
    semantic = np.random.default_rng(seed).integers(0, classes + 1, (height, width)).astype(np.uint8)
    found = components(semantic)
    assert found.labels.max(initial=0) == len(found.classes)
    assert np.array_equal(found.semantic, semantic)
    total = 0
    for number in range(1, classes + 1):
        expected, count = ndimage.label(semantic == number, EIGHT)
        total += count
        for i in range(1, count + 1):
            own = np.unique(found.labels[expected == i])
            assert len(own) == 1
            assert np.array_equal(found.labels == own[0], expected == i)
            assert found.classes[own[0] - 1] == number
    assert total == len(found.classes)


def test_small_components_go_and_stuff_gets_no_objects() -> None:
    semantic = np.zeros((6, 9), np.uint8)
    semantic[0, :2], semantic[2:5, :3], semantic[1:4, 5:8], semantic[5, 8] = 1, 1, 2, 2
    found = components(semantic, min_area=3, without=(2,))
    assert found.classes.tolist() == [1]
    assert (found.labels > 0).sum() == 9
    assert (found.semantic == 1).sum() == 9
    assert (found.semantic == 2).sum() == 9


@given(seed=st.integers(0, 500), overlap=st.sampled_from(["highest score", "first in the list"]), data=st.data())
def test_pixels_get_the_concept_that_the_rule_says(seed: int, overlap: str, data: st.DataObject) -> None:
    maps = maps_of(seed)
    thresholds = data.draw(st.lists(st.sampled_from([0.0, 0.3, 0.45, 0.5, 0.9, 1.0]), min_size=3, max_size=3))
    found = concept_pixels(maps, thresholds, overlap=overlap)
    claimed = maps.astype(np.float64) > np.array(thresholds)[:, None, None]
    score = np.where(claimed, maps.astype(np.float64) if overlap == "highest score" else 1, -1)
    assert np.array_equal(found, np.where(claimed.any(0), score.argmax(0) + 1, 0))


def test_a_negative_keeps_a_concept_out() -> None:
    maps = maps_of(1, 3)
    found = concept_pixels(maps, [0.2, 0.2], negatives=[2, None])
    assert not ((found == 1) & (maps[0] <= maps[2])).any()
    assert ((found == 2) & (maps[0] > maps[1])).any()


def test_one_map_and_no_pixel() -> None:
    found = concept_components(np.zeros((1, 4, 5), np.float16), [0.0])
    assert not found.labels.any()
    assert found.classes.tolist() == []
    with pytest.raises(ValueError, match="1 to 255"):
        concept_pixels(np.zeros((1, 4, 5), np.float16), [])


def test_smoothing_joins_pieces_and_leaves_constants_alone() -> None:
    assert np.array_equal(smoothed(maps_of(0), 0), maps_of(0))
    flat = np.full((2, 30, 20), 0.5, np.float16)
    assert np.array_equal(smoothed(flat, 3), flat)
    dotted = np.zeros((1, 30, 30), np.float16)
    dotted[0, 10:20, 10:20:2] = 1
    assert len(concept_components(dotted, [0.3]).classes) == 5
    assert len(concept_components(smoothed(dotted, 1.5), [0.3]).classes) == 1

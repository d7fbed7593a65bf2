"""The drawn scenes that training sees: each kind draws, the same scene again for the same number, with sound truth."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.measure import label

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

import synthetic
from scenes import KINDS, draw
from tests.support.frozen_arrays import read_arrays


@pytest.mark.parametrize("kind", KINDS)
def test_kind_draws_the_same_scene_with_numbered_connected_objects(kind: str) -> None:
    found = 0
    for seed in range(2):
        image, labels = draw(kind, seed)
        again = draw(kind, seed)
        assert image.dtype == np.uint8
        assert labels.dtype == np.uint16
        assert image.shape == (*labels.shape, 3)
        assert labels.shape in ((384, 384), (512, 512))
        assert np.array_equal(image, again[0])
        assert np.array_equal(labels, again[1])
        assert np.ptp(image) > (30 if kind == "even" else 100)
        ids = np.unique(labels[labels > 0])
        if kind != "plain":  # frozen as it was: it drops specks after it numbers
            assert np.array_equal(ids, np.arange(1, len(ids) + 1))
        assert label(labels, background=0, connectivity=1).max() == len(ids)
        found += len(ids)
    assert found


def test_scenes_are_written_with_their_kind_and_the_same_when_asked_again(tmp_path: Path) -> None:
    kinds = ["plain", "neurites"]
    for seed in range(3):
        synthetic.write_scene(tmp_path, kinds, seed)
    for seed in range(3):
        scene = read_arrays(tmp_path / f"{seed:05d}.npz")
        assert bool(scene["complete"]) == (str(scene["kind"]) != "neurites")
        assert str(scene["kind"]) in kinds
        image, labels = draw(str(scene["kind"]), seed)
        assert np.array_equal(scene["image"], image)
        assert np.array_equal(scene["labels"], labels)


def test_plain_scenes_are_those_that_the_benchmark_of_sizes_was_measured_on() -> None:
    image, labels = draw("plain", 1_000_003)
    # By the generator of commit c8018b5.
    assert (labels.max(), (labels > 0).sum()) == (24, 41454)
    assert image.sum(dtype=np.int64) == pytest.approx(94226967, rel=1e-5)

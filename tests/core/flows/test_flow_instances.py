"""From flows to objects: as cellpose 4.2 makes them (frozen by tests/oracles), and where it goes wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.io import imread
from skimage.segmentation import relabel_sequential

from napari_foundseg.core.flows.flow_fields import flow_errors, flows_of_labels
from napari_foundseg.core.flows.flow_instances import flow_instances
from napari_foundseg.core.measuring.comparison import match_objects
from tests.support.frozen_arrays import read_arrays

_DATA = Path(__file__).parents[2] / "data"


def _maps(labels: NDArray[np.int64], inside: float = 5.0) -> NDArray[np.float32]:
    probability = np.where(labels > 0, inside, -5)[None]
    return np.concatenate([5 * flows_of_labels(labels), probability]).astype(np.float32)


def _truth(name: str) -> NDArray[np.int64]:
    return relabel_sequential(imread(_DATA / f"{name}-truth.png").astype(np.int64))[0]


@pytest.mark.parametrize("name", ["nuclei", "tissue"])
def test_flows_and_objects_are_those_of_cellpose(name: str) -> None:
    frozen = read_arrays(_DATA / "cellpose" / "objects.npz")
    truth = _truth(name)
    assert np.abs(flows_of_labels(truth)[:, ::4, ::4] - frozen[f"{name} flows"]).max() <= 1e-3
    found, _ = flow_instances(_maps(truth))
    precision = match_objects(frozen[f"{name} objects"].astype(int), found).precision
    assert precision[8] >= 0.99  # at IoU 0.9


def _discs(shape: tuple[int, int], *discs: tuple[float, float, float]) -> NDArray[np.int64]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int64)
    for i, (cy, cx, r) in enumerate(discs, 1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= r**2] = i
    return labels


def test_a_large_disc_is_one_object_also_where_it_is_most_of_the_image() -> None:
    labels = _discs((250, 250), (124, 124, 115))
    assert (labels > 0).mean() > 0.6
    found, errors = flow_instances(_maps(labels))
    assert found.max() == 1
    assert np.array_equal(found > 0, labels > 0)
    assert errors[0] < 0.1


def test_pixels_of_large_objects_reach_their_middle_and_none_is_left_in_another() -> None:
    """Discs of 300 pixels beside one another: each id is one piece, and what is left over is background, and little."""
    labels = _discs((320, 640), (160, 165, 150), (160, 470, 150))
    found, _ = flow_instances(_maps(labels))
    assert found.max() == 2
    for i in (1, 2):
        assert ndimage.label(found == i, np.ones((3, 3)))[1] == 1
        assert len(np.unique(labels[found == i])) == 1
    left_over = (labels > 0) & (found == 0)
    assert left_over.sum() < 0.005 * (labels > 0).sum()


def test_touching_discs_of_mixed_sizes_are_told_apart_and_each_is_one_piece() -> None:
    labels = _discs((160, 200), (40, 40, 12), (40, 65, 12), (100, 120, 40), (12, 180, 6))
    found, _ = flow_instances(_maps(labels))
    assert match_objects(labels, found).precision[8] == 1
    for i in range(1, found.max() + 1):
        assert ndimage.label(found == i, np.ones((3, 3)))[1] == 1


def test_thresholds_and_areas_drop_objects() -> None:
    labels = _discs((80, 120), (30, 30, 12), (40, 90, 15))
    maps = _maps(labels)
    maps[:2, :, 60:] = np.roll(maps[:2, :, 60:], 1, axis=0) * -0.2  # flows that point outwards, too short
    assert flow_instances(maps, flow_threshold=0.4)[0].max() == 1
    maps = _maps(labels, inside=1.0)
    assert flow_instances(maps, probability_threshold=2.0)[0].max() == 0
    assert flow_instances(maps, min_area=600)[0].max() == 1
    assert flow_instances(_maps(np.zeros((5, 7), np.int64)))[0].shape == (5, 7)


@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (40, 1)])
def test_thin_pictures_do_not_fail(shape: tuple[int, int]) -> None:
    found, errors = flow_instances(_maps(np.ones(shape, np.int64)), min_area=0)
    assert found.shape == shape
    assert len(errors) == found.max()


def test_true_flows_have_no_error() -> None:
    labels = _truth("tissue")
    assert flow_errors(labels, flows_of_labels(labels)).max() == 0

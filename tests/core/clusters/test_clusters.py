from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_foundseg.core.clusters.cluster_matching import match_clusters
from napari_foundseg.core.clusters.clusters import Clusters, Edit, clusters_of_codes, find_clusters
from napari_foundseg.core.clusters.feature_colours import as_rgb
from napari_foundseg.core.errors import SettingsError


def _blobs(counts=(60, 40, 20), dim: int = 5, seed: int = 0):
    rng = np.random.default_rng(seed)
    centres = 5 * np.eye(dim)[: len(counts)]
    kinds = np.repeat(np.arange(len(counts)), counts)
    return (centres[kinds] + rng.normal(0, 0.3, (len(kinds), dim))).astype(np.float32), kinds


def _of(clusters: Clusters, features) -> np.ndarray:
    return clusters.nearest(features)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_clusters_are_found_and_numbered_by_size(metric) -> None:
    features, kinds = _blobs()
    clusters = find_clusters(features, 3, metric)
    assert match_clusters(_of(clusters, features), kinds).accuracy == 1
    assert (np.diff(np.bincount(_of(clusters, features))[1:]) <= 0).all()
    again = find_clusters(features, 3, metric)
    np.testing.assert_array_equal(again.centres, clusters.centres)


def test_log_probabilities_are_a_softmax_of_twice_the_cosine() -> None:
    features, _ = _blobs()
    clusters = find_clusters(features, 3)
    cosines = [
        [f @ c / np.linalg.norm(f) / np.linalg.norm(c) for c in clusters.centres.astype(float)]
        for f in features.astype(float)
    ]
    expected = 2 * np.array(cosines)
    expected -= np.log(np.exp(expected).sum(1, keepdims=True))
    np.testing.assert_allclose(clusters.log_probabilities(clusters.scores(features).T).T, expected, atol=1e-5)


@pytest.mark.parametrize(("features", "count", "found"), [
    (np.zeros((50, 3)), 4, 1),
    (np.ones((50, 3)), 4, 1),
    (np.repeat(np.eye(3), 10, 0), 8, 3),
    (np.eye(4)[:2], 5, 2),
    (np.random.default_rng(0).normal(size=(30, 3)), 1, 1),
])  # fmt: skip
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("find", [find_clusters, clusters_of_codes])
def test_there_are_as_many_clusters_as_different_features_at_most(find, features, count, found, metric) -> None:
    clusters = find(features, count, metric)
    assert len(clusters.ids) == found
    assert np.isfinite(clusters.log_probabilities(clusters.scores(features).T)).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 6))
def test_more_clusters_of_codes_lie_in_the_fewer(seed, count) -> None:
    codes = np.random.default_rng(seed).normal(0, 1, (300, 4)).astype(np.float32)
    fewer = clusters_of_codes(codes, count, "euclidean").nearest(codes)
    more = clusters_of_codes(codes, count + 1, "euclidean").nearest(codes)
    assert set(more) == set(range(1, count + 2))
    np.testing.assert_array_equal(np.where(more == count + 1, fewer[more == count + 1][0], more), fewer)


def test_more_clusters_of_codes_divide_the_large_one_and_not_the_few_objects() -> None:
    rng = np.random.default_rng(0)
    background, objects = rng.normal(0, 1.0, (900, 4)), rng.normal([9, 0, 0, 0], 0.3, (60, 4))
    codes = np.concatenate([background, objects]).astype(np.float32)
    for count in (2, 3, 4, 5):
        found = clusters_of_codes(codes, count, "euclidean").nearest(codes)
        assert len(set(found[900:])) == 1
        assert found[900] not in found[:900]


def test_merging_keeps_the_first_number_and_joins_the_pixels() -> None:
    features, _ = _blobs()
    clusters = find_clusters(features, 3)
    merged = clusters.edited([Edit(kind="merge", clusters=(2, 3))], features)
    assert merged.ids == (1, 2)
    before, after = _of(clusters, features), _of(merged, features)
    np.testing.assert_array_equal(after, np.where(before == 3, 2, before))


def test_splitting_changes_the_pixels_of_one_cluster_only() -> None:
    features, _ = _blobs()
    clusters = find_clusters(features, 3).edited([Edit(kind="merge", clusters=(1, 2, 3))], features)
    parted = clusters.edited([Edit(kind="split", clusters=(1,))], features)
    assert parted.ids == (1, 2)
    assert set(_of(parted, features)) == {1, 2}
    whole = find_clusters(features, 3)
    parted = whole.edited([Edit(kind="split", clusters=(1,))], features)
    others = _of(whole, features) != 1
    np.testing.assert_array_equal(_of(parted, features)[others], _of(whole, features)[others])
    assert parted.ids == (1, 2, 3, 4)


def test_names_colours_and_hiding() -> None:
    features, _ = _blobs()
    edits = [
        Edit(kind="rename", clusters=(2,), name="nuclei"),
        Edit(kind="recolour", clusters=(2,), colour="#ff0000"),
        Edit(kind="hide", clusters=(1, 3)),
        Edit(kind="show", clusters=(3,)),
    ]
    clusters = find_clusters(features, 3).edited(edits, features)
    assert clusters.classes[2].name == "nuclei"
    assert clusters.classes[2].colour == "#ff0000"
    assert clusters.hidden == {1}


@pytest.mark.parametrize(("edit", "words"), [
    (Edit(kind="merge", clusters=(1, 9)), "no cluster 9"),
    (Edit(kind="merge", clusters=(1,)), "two or more"),
    (Edit(kind="rename", clusters=(1,)), "name"),
    (Edit(kind="recolour", clusters=(1,), colour="red"), "colour"),
])  # fmt: skip
def test_edits_that_cannot_be_done_say_why(edit: Edit, words: str) -> None:
    features, _ = _blobs()
    with pytest.raises(SettingsError, match=words):
        find_clusters(features, 3).edited([edit], features)


def test_a_cluster_of_equal_features_is_not_split() -> None:
    features = np.repeat(np.eye(3), 10, 0)
    with pytest.raises(SettingsError, match="cannot be split"):
        find_clusters(features, 3).edited([Edit(kind="split", clusters=(1,))], features)


@given(st.permutations(range(5)), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_a_match_does_not_depend_on_how_clusters_are_numbered(order, seed) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, (9, 9))
    found = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 5, truth.shape))
    one, other = match_clusters(found, truth), match_clusters(np.asarray(order)[found], truth)
    assert one.accuracy == pytest.approx(other.accuracy)
    assert match_clusters(np.asarray(order)[truth], truth).mean_iou == 1


def test_a_match_is_the_best_of_all() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    found = np.array([5, 5, 5, 7, 7, 7, 7, 7, 9, 9])
    result = match_clusters(found, truth)
    assert result.pairs == {5: 0, 7: 1, 9: 2}
    assert result.accuracy == pytest.approx(0.8)
    assert result.iou == pytest.approx({0: 3 / 4, 1: 3 / 5, 2: 2 / 3})
    assert match_clusters(found, truth, ignore=0).accuracy == pytest.approx(5 / 6)
    with pytest.raises(ValueError, match="shape"):
        match_clusters(found, truth[:3])


def test_principal_components_as_colours() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(0, 0.01, (6, 20, 30))
    features[2, :, 15:] += 3
    rgb = as_rgb(features)
    assert rgb.shape == (20, 30, 3)
    assert abs(int(rgb[5, 20, 0]) - int(rgb[5, 5, 0])) > 200
    assert (as_rgb(np.ones((4, 5, 5))) == 127).all()

"""Clusters of features in which a small cluster counts as much as a large one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_foundseg.core.clusters.balance import Scaling, find_scaled_clusters, separation
from napari_foundseg.core.clusters.cluster_matching import match_clusters


def textures(sizes: tuple[int, ...], seed: int = 0) -> tuple[Any, Any]:
    """Return features of kinds that cover unequal parts of an image, and the kind of each."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    kinds = rng.normal(0, 1, (len(sizes), 24))
    return (kinds[truth] + rng.normal(0, 0.5, (len(truth), 24))).astype(np.float32), truth


@pytest.mark.parametrize("sizes", [(500, 500, 500), (1800, 120, 80), (40, 1900, 60)])
def test_kinds_that_cover_little_are_found_by_their_angle(sizes: tuple[int, ...]) -> None:
    features, truth = textures(sizes)
    scaling, clusters = find_scaled_clusters(features, 3, "cosine")
    found = clusters.nearest(scaling.apply(features))
    assert match_clusters(found[None], truth[None]).accuracy > 0.98


@pytest.mark.parametrize("seed", [0, 1])
def test_a_kind_that_covers_most_and_varies_is_not_divided(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), (2600, 300, 100))
    features = rng.normal(0, 1, (3, 24))[truth] + rng.normal(0, 0.5, (len(truth), 24))
    features[truth == 0] += 0.5 * rng.uniform(-1, 1, (2600, 1)) * rng.normal(0, 1, 24)
    scaling, clusters = find_scaled_clusters(features.astype(np.float32), 3, "cosine")
    found = clusters.nearest(scaling.apply(features))
    assert match_clusters(found[None], truth[None]).accuracy > 0.98


def test_features_that_are_all_alike_are_one_cluster() -> None:
    _, clusters = find_scaled_clusters(np.ones((50, 3), np.float32), 2, "cosine")
    assert len(clusters.ids) == 1


def test_without_equal_weight_the_features_are_centred_at_their_plain_mean() -> None:
    features, _ = textures((1800, 120, 80))
    scaling, _ = find_scaled_clusters(features, 3, "cosine", equal_weight=False)
    np.testing.assert_allclose(scaling.mean, features.mean(0), atol=1e-5)
    np.testing.assert_allclose(scaling.scale, features.std(0), rtol=1e-4)


def test_a_channel_that_never_varies_does_no_harm() -> None:
    features = np.zeros((50, 3), np.float32)
    features[:25, 0] = 1
    scaled = Scaling.measure(features).apply(features)
    assert np.isfinite(scaled).all()
    scaling, clusters = find_scaled_clusters(features, 2, "cosine")
    found = clusters.nearest(scaling.apply(features))
    assert len(set(found[:25])) == len(set(found[25:])) == 1
    assert found[0] != found[-1]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_separation_is_higher_for_the_truth_than_for_a_cluster_torn_apart(metric: Any) -> None:
    features, truth = textures((1800, 120, 80))
    scaled = find_scaled_clusters(features, 3, "cosine")[0].apply(features)
    torn = np.where(truth == 0, np.arange(len(truth)) % 2, 2)
    assert separation(scaled, truth, metric) > separation(scaled, torn, metric) + 0.2
    assert separation(scaled, np.zeros_like(truth), metric) == 0

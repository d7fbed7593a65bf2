"""Clusters of features with equal weight for each cluster, however much of the image it covers.

Features are centred before their angles are compared. If one texture covers most of an image, the plain mean is within
that texture, and the angles of its features are noise. The mean of the clusters' means does not depend on the covered
areas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.clusters.clusters import Clusters, Metric, find_clusters, normalised

__all__ = ["Scaling", "find_scaled_clusters", "separation"]

_Floats = NDArray[np.float32]
#: Least spread of a channel.
_LEAST = 1e-4
#: Small clusters that are joined to one, on average.
_PARTS = 3
#: Features that they are found in.
_JOINED_OF = 4_000


@dataclass(frozen=True, eq=False)
class Scaling:
    """Offset and factor of each channel.

    Parameters
    ----------
    mean, scale : (D,) ndarray of float32
        The values to subtract and then to divide by.
    """

    mean: _Floats
    scale: _Floats

    @classmethod
    def measure(cls, sample: NDArray[Any], weights: NDArray[Any] | None = None) -> Scaling:
        """Measure mean and standard deviation of each channel of (n, D) features, by weights of shape (n,)."""
        features = np.asarray(sample, np.float32)
        mean = np.average(features, axis=0, weights=weights)
        scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights))
        return cls(mean.astype(np.float32), np.maximum(scale, _LEAST).astype(np.float32))

    def apply(self, features: NDArray[Any]) -> _Floats:
        """Return scaled features, (..., D)."""
        return np.asarray((np.asarray(features, np.float32) - self.mean) / self.scale, np.float32)


def find_scaled_clusters(
    sample: NDArray[Any], count: int, metric: Metric, seed: int = 0, *, equal_weight: bool = True
) -> tuple[Scaling, Clusters]:
    """Find a scaling of features, and clusters of the scaled features.

    Parameters
    ----------
    sample : (n, D) ndarray of float
        Features.
    count : int
        Number of clusters.
    metric : {'cosine', 'euclidean'}
        The metric of the clusters.
    seed : int
        Random seed.
    equal_weight : bool
        With the cosine metric: centre and scale the features so that each of the clusters that the search starts from
        counts equally. It starts from those of k-means, and from many small ones that are joined; the more separated
        result is returned. With the Euclidean metric it has no effect, since the centre does not matter.
    """
    scaling = Scaling.measure(sample)
    scaled = scaling.apply(sample)
    if metric != "cosine" or not equal_weight:
        return scaling, find_clusters(scaled, count, metric, seed)
    found = []
    for first in (find_clusters(scaled, count, "euclidean", seed).nearest(scaled), _joined(scaled, count, seed)):
        scaling = Scaling.measure(sample, 1 / np.bincount(first)[first])
        features = scaling.apply(sample)
        clusters = find_clusters(features, count, metric, seed, start=first)
        found.append((separation(features, clusters.nearest(features), metric), scaling, clusters))
    _, scaling, clusters = max(found, key=lambda one: one[0])
    return scaling, clusters


def _joined(features: _Floats, count: int, seed: int) -> NDArray[np.int64]:
    """Return clusters joined from smaller ones: k-means alone divides what is large and joins what is small."""
    from sklearn.cluster import AgglomerativeClustering

    some = features[:: max(1, len(features) // _JOINED_OF)]
    small = find_clusters(some, _PARTS * count, "euclidean", seed)
    nearest = small.nearest(features)
    if len(small.ids) <= count:
        return nearest
    # Ward's linkage, because others leave a few odd places alone.
    joined = AgglomerativeClustering(count, linkage="ward").fit_predict(small.centres)
    return np.asarray(joined[nearest - 1], np.int64)


def separation(features: NDArray[Any], labels: NDArray[Any], metric: Metric) -> float:
    """Return how far clusters of features are from each other; no ground truth is needed.

    This is the simplified silhouette (Hruschka, de Castro and Campello 2004), averaged over the clusters and not over
    the features.

    Parameters
    ----------
    features : (n, D) ndarray of float
        Scaled features.
    labels : (n,) ndarray of int
        The cluster of each feature.
    metric : {'cosine', 'euclidean'}
        The distance: 1 minus the cosine, or the length of the difference.

    Returns
    -------
    float
        At most 1; 0 for a single cluster.
    """
    numbers, place = np.unique(labels, return_inverse=True)
    if len(numbers) < 2:
        return 0.0
    points = normalised(features) if metric == "cosine" else np.asarray(features, np.float32)
    centres = np.stack([points[place == i].mean(0) for i in range(len(numbers))])
    if metric == "cosine":
        away = 1 - points @ normalised(centres).T
    else:
        squared = (points**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * points @ centres.T
        away = np.sqrt(np.maximum(squared, 0))
    every = np.arange(len(points))
    own = away[every, place]
    away[every, place] = np.inf
    other = away.min(1)
    silhouette = (other - own) / np.maximum(np.maximum(other, own), np.float32(1e-10))
    return float(np.mean([silhouette[place == i].mean() for i in range(len(numbers))]))

"""Compare unnamed clusters with a reference that has classes, by the best one-to-one match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClusterMatching", "match_clusters"]


@dataclass(frozen=True)
class ClusterMatching:
    """The result of `match_clusters`.

    Parameters
    ----------
    pairs : dict of int to int
        The class of each matched cluster.
    accuracy : float
        Share of the reference's pixels whose cluster is matched to their class.
    iou : dict of int to float
        Intersection over union of each class with its cluster; 0 if it has no cluster.
    """

    pairs: dict[int, int]
    accuracy: float
    iou: dict[int, float]

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes (mIoU)."""
        return float(np.mean(list(self.iou.values()))) if self.iou else 0.0


def match_clusters(clusters: NDArray[Any], reference: NDArray[Any], *, ignore: int | None = None) -> ClusterMatching:
    """Match clusters to classes one to one so that most pixels agree (Hungarian method: Kuhn 1955).

    Parameters
    ----------
    clusters : ndarray of int
        Cluster of each pixel.
    reference : ndarray of int
        Class of each pixel, the same shape.
    ignore : int, optional
        Pixels of this class in the reference are not counted.

    Returns
    -------
    ClusterMatching
        The assignment and its scores.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    from scipy.optimize import linear_sum_assignment

    if clusters.shape != reference.shape:
        raise ValueError(f"clusters have shape {clusters.shape}, the reference {reference.shape}")
    counted = np.ones(reference.shape, bool) if ignore is None else reference != ignore
    found, at = np.unique(clusters[counted], return_inverse=True)
    classes, of = np.unique(reference[counted], return_inverse=True)
    if not len(classes):
        return ClusterMatching({}, 0.0, {})
    both = np.bincount(at * len(classes) + of, minlength=len(found) * len(classes)).reshape(len(found), len(classes))
    rows, columns = linear_sum_assignment(both, maximize=True)
    union = both.sum(1)[rows] + both.sum(0)[columns] - both[rows, columns]
    iou = dict.fromkeys(classes.tolist(), 0.0)
    iou |= {int(classes[c]): float(both[r, c] / u) for r, c, u in zip(rows, columns, union, strict=True)}
    pairs = {int(found[r]): int(classes[c]) for r, c in zip(rows, columns, strict=True)}
    return ClusterMatching(pairs, float(both[rows, columns].sum() / both.sum()), iou)

"""Features for a fit of STEGO: scaled, sampled, and clustered without a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.clusters.balance import Scaling, find_scaled_clusters, separation
from napari_foundseg.core.clusters.clusters import find_clusters
from napari_foundseg.tasks.side_tasks.fit_settings import FitSettings

if TYPE_CHECKING:
    import torch

    from napari_foundseg.models.nets.stego.stego import SegmentationHead

__all__ = ["ScaledFeatures", "codes_of", "scale_features"]

#: Places that are sampled in all images; a model keeps their codes to find other numbers of clusters.
_SAMPLED = 20_000
#: Places that are used to rate heads.
_RATED = 4_000


@dataclass(frozen=True, eq=False)
class ScaledFeatures:
    """Scaling of the features of a fit, a sample of them, and its clusters without a fit."""

    scaling: Scaling
    sample: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def alike(self) -> float:
        """Share of pairs of places that belong to the same cluster."""
        shares = np.bincount(self.labels) / len(self.labels)
        return float((shares**2).sum())

    def main_directions(self, count: int) -> torch.Tensor:
        """Return the first principal components of the features, (n, D)."""
        import torch

        part = self.sample[:: max(1, len(self.sample) // _RATED)]
        return torch.as_tensor(np.linalg.svd(part, full_matrices=False)[2][:count].copy())

    def rate(self, head: SegmentationHead) -> float:
        """Return the negative separation, in the features, of the clusters of a head's codes."""
        every = slice(None, None, max(1, len(self.sample) // _RATED))
        features = self.sample[every]
        codes = codes_of(head, features)
        count = len(np.unique(self.labels))
        labels = find_clusters(codes, count, "cosine", start=self.labels[every]).nearest(codes)
        return -separation(features, labels, "cosine")


def scale_features(maps: list[torch.Tensor], settings: FitSettings) -> ScaledFeatures:
    """Scale the features of all maps in place, and cluster a sample of them."""
    import torch

    sample = _places(maps)
    scaling, clusters = find_scaled_clusters(sample, settings.n_clusters, settings.metric, settings.seed)
    mean = torch.as_tensor(scaling.mean)
    scale = torch.as_tensor(scaling.scale)
    for one in maps:
        one.copy_(((one.float() - mean) / scale).clamp(-60_000, 60_000))
    scaled = scaling.apply(sample)
    return ScaledFeatures(scaling, scaled, clusters.nearest(scaled))


def _places(maps: Sequence[torch.Tensor]) -> NDArray[np.float32]:
    """Return the features of places spread evenly over all maps, (n, D)."""
    import torch

    each = max(20, _SAMPLED // len(maps))
    parts = []
    for one in maps:
        flat = one.flatten(0, 1)
        parts.append(flat[torch.linspace(0, len(flat) - 1, min(each, len(flat))).long()].float())
    return np.asarray(torch.cat(parts).numpy())


def codes_of(head: SegmentationHead, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the codes, (n, dim), of scaled features, (n, D)."""
    import torch

    with torch.no_grad():
        codes = head(torch.as_tensor(features).T[None, :, :, None])[0, :, :, 0].T
    # Round to float16, as codes are stored, so that clusters found from stored codes are the same.
    return np.asarray(codes.numpy().astype(np.float16).astype(np.float32))

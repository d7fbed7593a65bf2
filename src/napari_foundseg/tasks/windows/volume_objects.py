"""`VolumeObjects`: objects of volumes, made from an instance decoder's maps by a watershed in 3-D."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.labels import label_dtype, plane_view
from napari_foundseg.core.masks import Box
from napari_foundseg.core.volumes.columns import join_columns
from napari_foundseg.core.volumes.flooding import depth_in_volume, flood, in_order
from napari_foundseg.core.volumes.overlap_linking import bridge_gaps
from napari_foundseg.core.watershed import instance_scores
from napari_foundseg.tasks.stack_settings import StackSettings
from napari_foundseg.tasks.windows import tiling

__all__ = ["VolumeObjects", "flooding"]

#: Most voxels of a volume that is flooded; flooding needs 30 bytes for each.
MOST_VOXELS = 60_000_000
#: Largest depth, in pixels, that a boundary distance stands for.
_DEEPEST = 1000.0


def flooding(
    shape: tuple[int, ...], axes: str, region: Box, settings: StackSettings, index: Any, *, has_maps: bool
) -> tuple[bool, str]:
    """Return whether a run makes objects by a watershed in 3-D and, if this was asked for but is not possible, why.

    Parameters
    ----------
    shape : tuple of int
        Shape of the labels.
    axes : str
        Axes of the labels.
    region : tuple of int
        (y0, x0, y1, x1), both included.
    settings : StackSettings
        Settings of the run.
    index : tuple of int or None
        The one slice to segment; None for all slices.
    has_maps : bool
        Whether the method makes an instance decoder's maps.
    """
    along = settings.body_axes(axes)
    if settings.link not in ("3d", "tracks") or not along or index is not None or shape[axes.index(along)] == 1:
        return False, ""
    if not has_maps:
        return False, "this method gives no depths"
    voxels = shape[axes.index(along)] * (region[2] - region[0] + 1) * (region[3] - region[1] + 1)
    if voxels > MOST_VOXELS:
        return False, f"the watershed holds {MOST_VOXELS / 1e6:.0f} million voxels and the stack has {voxels / 1e6:.0f}"
    return True, ""


@dataclass
class VolumeObjects:
    """Collector of the maps of all slices, which makes objects from them.

    Parameters
    ----------
    shape : tuple of int
        Shape of the labels.
    axes : str
        Axes of the labels.
    along : str
        The axis of the slices.
    region : tuple of int
        (y0, x0, y1, x1) of the maps, both included.
    distance : float
        Distance of neighbouring slices, in pixels.
    thresholds : mapping
        Thresholds for `core.watershed.instances`.
    least : float
        Least confidence of an object.
    calibration : sequence of float, optional
        Calibration for `core.watershed.instance_scores`.
    boundary_half : float, optional
        See `CatalogRow.boundary_half`. Without it, the depth is the distance to the borders of objects in the slices.
    """

    shape: tuple[int, ...]
    axes: str
    along: str
    region: Box
    distance: float
    thresholds: Mapping[str, Any]
    least: float
    calibration: Any
    boundary_half: float | None
    _maps: dict[tuple[int, ...], NDArray[np.float16]] = field(default_factory=dict)
    _inside: dict[tuple[int, ...], NDArray[np.bool_]] = field(default_factory=dict)
    _bordered: dict[tuple[int, ...], NDArray[np.bool_]] = field(default_factory=dict)

    def add(self, index: tuple[int, ...], maps: NDArray[Any], sections: NDArray[Any]) -> None:
        """Add the objects of a slice and its maps: (3, M, N), or (5, M, N) with the other planes."""
        self._maps[index] = maps.astype(np.float16, copy=False)
        self._inside[index] = sections > 0
        if self.boundary_half is None:
            self._bordered[index] = _borders(sections)

    def objects(self) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.float64]]:
        """Return labels of the whole shape, and the predicted IoU and stability of each object, (2, n)."""
        labels = np.zeros(self.shape, np.uint32)
        scores = [np.empty((2, 0))]
        count = 0
        at = self.axes.replace("Y", "").replace("X", "").index(self.along)
        volumes: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for index in self._maps:
            volumes.setdefault((*index[:at], *index[at + 1 :]), []).append(index)
        for indices in volumes.values():
            found, own = self._of_volume(sorted(indices, key=lambda index: index[at]))
            for index, plane in zip(sorted(indices, key=lambda index: index[at]), found, strict=True):
                target = tiling.part(plane_view(labels, self.axes, index), self.region)
                np.add(plane, count, out=target, where=plane > 0, dtype=labels.dtype, casting="unsafe")
            scores.append(own)
            count += own.shape[1]
        return labels.astype(label_dtype(count)), np.concatenate(scores, axis=1)

    def _of_volume(self, indices: list[tuple[int, ...]]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        found = self._flooded(indices)
        found = in_order(join_columns(found)[found])
        found = in_order(bridge_gaps(found, self.distance)[found])
        count = int(found.max(initial=0))
        sums = np.zeros((2, count + 1))
        volume = np.zeros(count + 1)
        widest = np.zeros(count + 1)
        for index, plane in zip(indices, found, strict=True):
            ids, own = np.unique(plane, return_inverse=True)
            own = own.reshape(plane.shape) + (ids[0] != 0)
            ids = ids[ids > 0]
            areas = np.bincount(own.ravel(), minlength=len(ids) + 1)[1:]
            sums[:, ids] += np.stack(instance_scores(self._maps[index][:3], own, self.calibration)) * areas
            volume[ids] += areas
            np.maximum.at(widest, ids, areas)
        mean = sums / np.maximum(volume, 1)
        min_area = max(1, self.thresholds["min_area"])
        # The volume of a ball is three quarters of the area of its middle section to the power of 1.5.
        kept = (mean[0] >= self.least) & (widest >= min_area) & (volume * self.distance >= 0.5 * min_area**1.5)
        kept[0] = False
        ids = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
        return ids[found], mean[:, kept]

    def _flooded(self, indices: list[tuple[int, ...]]) -> NDArray[np.int32]:
        inside = np.stack([self._inside[index] for index in indices])
        several = all(len(self._maps[index]) > 3 for index in indices)
        seeds = None
        if several:
            seeds = np.stack([self._sure(index) for index in indices])
            inside |= seeds
        edges = inside
        if self.boundary_half is None:
            edges = inside & ~np.stack([self._bordered[index] for index in indices])
        depth = depth_in_volume(edges, self.distance)
        for k, index in enumerate(indices):
            maps = self._maps[index].astype(np.float32)
            if self.boundary_half is not None:
                boundary = maps[2] if not several else np.maximum(maps[2], maps[4])
                seen = self.boundary_half * (1 / np.clip(boundary, self.boundary_half / _DEEPEST, 1) - 1)
                np.minimum(depth[k], seen, out=depth[k])
            if seeds is not None:
                seeds[k] &= maps[1] < self.thresholds["centre_threshold"]
                seeds[k] &= maps[2] < self.thresholds["boundary_threshold"]
        smoothing = max(1.0, self.thresholds["seed_smoothing"])
        return flood(inside, depth, self.distance, smoothing=smoothing, seeds=seeds)

    def _sure(self, index: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return the pixels of a slice at which the mean foreground of the three planes is above the threshold."""
        maps = self._maps[index].astype(np.float32)
        own = _smoothed(maps[0], self.thresholds["foreground_smoothing"])
        sure: NDArray[np.bool_] = (own + 2 * maps[3]) / 3 > self.thresholds["foreground_threshold"]
        return sure


def _smoothed(part: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(part, sigma)) if sigma else part


def _borders(sections: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the pixels of a slice where two objects touch."""
    borders = np.zeros(sections.shape, bool)
    for axis in (0, 1):
        one = np.moveaxis(sections, axis, 0)
        touching = (one[:-1] != one[1:]) & (one[:-1] > 0) & (one[1:] > 0)
        moved = np.moveaxis(borders, axis, 0)
        moved[:-1] |= touching
        moved[1:] |= touching
    return borders

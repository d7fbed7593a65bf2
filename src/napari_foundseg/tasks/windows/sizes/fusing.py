"""Fused maps of several octaves, in which each object of a picture is seen at the size that suits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.labels import label_dtype
from napari_foundseg.tasks.windows.instance_maps import resized_maps
from napari_foundseg.tasks.windows.sizes.octaves import Octave

__all__ = ["fuse"]

#: Quality by which an object of another octave must exceed the objects that it replaces.
_BETTER = 0.2
#: Least quality of an object from another octave.
_LEAST = 0.6
#: Largest share of an object that other objects may cover already.
_COVERED = 0.3
#: Longest side, in pixels, of the label images in which objects of different octaves are compared.
_COMPARED = 4096
#: Median diameters, as the model sees them, below and above which the next finer or coarser octave is averaged in.
_SMALL = 15.0
_LARGE = 60.0
_LARGE_ENLARGED = 18.0
#: Diameter, as the model sees it, beyond which an object of that octave keeps its own maps when two are averaged.
_APART = 30.0


def fuse(
    octaves: Sequence[Octave],
    scale: float,
    shape: tuple[int, int],
    least: float,
) -> NDArray[np.float16]:
    """Return maps in which each object is seen at the size that suits it.

    Parameters
    ----------
    octaves : sequence of Octave
        Objects of the picture at each size.
    scale : float
        Scale of the octave that provides the maps.
    shape : tuple of int
        Rows and columns of the picture.
    least : float
        Least confidence of an object.

    Returns
    -------
    (3, *shape) ndarray of float16
        Foreground, centre distance and boundary distance.
    """
    base = next(octave for octave in octaves if octave.scale == scale)
    maps = _with_neighbour(base, octaves, shape)
    better, worse = _of_other_octaves(base, octaves, least)
    if not better:
        return maps
    maps = maps.copy() if maps is base.maps else maps
    own = _enlarged_labels(base.labels, shape)
    maps[0][np.isin(own, worse)] = 0
    for octave in octaves:
        ids = [number for one, number in better if one is octave]
        if not ids:
            continue
        labels = _enlarged_labels(_dilated(np.where(np.isin(octave.labels, ids), octave.labels, 0)), shape)
        inside = labels > 0
        for target, part in zip(maps, resized_maps(octave.maps, shape), strict=True):
            target[inside] = part[inside]
    return maps


def _with_neighbour(base: Octave, octaves: Sequence[Octave], shape: tuple[int, int]) -> NDArray[np.float16]:
    """Return an octave's maps; if its objects are small or large for the model, averaged with those of the next."""
    maps = resized_maps(base.maps, shape)
    if not len(base.quality):
        return maps
    middle = float(np.median(base.diameters))
    # An enlarged picture has no more detail than the original.
    if _SMALL <= middle <= (_LARGE if base.scale <= 1 else _LARGE_ENLARGED):
        return maps
    scale = base.scale * (2 if middle < _SMALL else 0.5)
    other = next((octave.maps for octave in octaves if octave.scale == scale), None)
    if other is None:
        return maps
    own = maps
    maps = own.copy()
    # In place and in float16: the maps of a large picture take gigabytes.
    maps += resized_maps(other, shape)
    maps *= np.float16(0.5)
    # Objects far from the median are not seen better in the other octave.
    least = _APART if base.scale <= 1 else _LARGE_ENLARGED
    apart = base.diameters > _APART if scale > base.scale else base.diameters < least
    if apart.any():
        ids = np.flatnonzero(apart) + 1
        labels = _dilated(np.where(np.isin(base.labels, ids), base.labels, 0))
        inside = _enlarged_labels(labels, shape) > 0
        maps[:, inside] = own[:, inside]
    return maps


def _of_other_octaves(
    base: Octave, octaves: Sequence[Octave], least: float
) -> tuple[list[tuple[Octave, int]], list[int]]:
    """Choose objects of other octaves that are better than the objects of the base in their place.

    Returns these objects with their octaves, and the ids of the objects of the base that they replace. Objects are
    taken in the order of their quality (non-maximum suppression); those of the base have a bonus.
    """
    candidates = []
    for octave in octaves:
        lead = _BETTER if octave is base else 0.0
        for number, (quality, confidence) in enumerate(zip(octave.quality, octave.confidence, strict=True), 1):
            if confidence >= least and (octave is base or quality >= _LEAST):
                candidates.append((quality + lead, octave, number))
    if all(octave is base for _, octave, _ in candidates):
        return [], []
    overlaps = _Overlaps(octaves)
    taken: list[tuple[Octave, int]] = []
    worse = []
    for _, octave, number in sorted(candidates, key=lambda one: -one[0]):
        if overlaps.free(octave, number):
            overlaps.take(octave, number)
            taken.append((octave, number))
        elif octave is base:
            worse.append(number)
    return [one for one in taken if one[0] is not base], worse


class _Overlaps:
    """Overlaps of the objects of all octaves with the objects that are taken already."""

    def __init__(self, octaves: Sequence[Octave]) -> None:
        largest = max((octave.labels.shape for octave in octaves), key=lambda one: one[0] * one[1])
        shrunk = min(1.0, _COMPARED / max(largest))
        shape = (max(1, round(largest[0] * shrunk)), max(1, round(largest[1] * shrunk)))
        self.labels = {id(octave): _enlarged_labels(octave.labels, shape) for octave in octaves}
        self.areas = {key: np.bincount(labels.ravel()) for key, labels in self.labels.items()}
        self.boxes = {id(octave): _boxes(self.labels[id(octave)], len(octave.quality)) for octave in octaves}
        self.owner = np.zeros(shape, np.int32)
        self.sizes = [0]

    def free(self, octave: Octave, number: int) -> bool:
        """Tell whether an object can be taken: it covers little of the taken objects, and they cover little of it."""
        box = self.boxes[id(octave)][number - 1]
        if box is None:
            # Too small to be compared: it covers no taken object.
            return True
        own = self.labels[id(octave)][box] == number
        covered = np.bincount(self.owner[box][own], minlength=len(self.sizes))
        covered[0] = 0
        return bool(
            covered.sum() <= _COVERED * self.areas[id(octave)][number] and (covered <= 0.5 * np.array(self.sizes)).all()
        )

    def take(self, octave: Octave, number: int) -> None:
        """Mark the pixels of an object as taken."""
        box = self.boxes[id(octave)][number - 1]
        if box is None:
            return
        own = self.labels[id(octave)][box] == number
        self.owner[box][own & (self.owner[box] == 0)] = len(self.sizes)
        self.sizes.append(int(self.areas[id(octave)][number]))


def _boxes(labels: NDArray[Any], count: int) -> list[Any]:
    from scipy import ndimage

    return list(ndimage.find_objects(labels, max_label=count))


def _enlarged_labels(labels: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Resize labels to another shape by nearest neighbours."""
    if labels.shape == shape:
        return labels
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1) for n, m in zip(shape, labels.shape, strict=True)
    )
    enlarged: NDArray[Any] = labels[rows[:, None], columns]
    return enlarged


def _dilated(labels: NDArray[Any]) -> NDArray[Any]:
    """Grow objects by two pixels, so that their rim comes from the same maps."""
    from skimage.segmentation import expand_labels

    return np.asarray(expand_labels(labels, 2)).astype(label_dtype(int(labels.max(initial=0))), copy=False)

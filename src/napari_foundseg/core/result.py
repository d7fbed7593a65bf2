"""`Segmentation`: the result of every task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from napari_foundseg.core.classes.class_table import OBJECT, ClassTable
from napari_foundseg.core.object_table import TABLE_COLUMNS
from napari_foundseg.core.painting import Painting

if TYPE_CHECKING:
    import pandas as pd

    from napari_foundseg.core.masks import Mask

__all__ = ["Segmentation", "count_in_words", "size_in_words"]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Labels, and a table of the objects.

    Parameters
    ----------
    pixels : ndarray of unsigned int, or Painting
        The labels, or the masks from which they are drawn at first access.
    table : pandas.DataFrame
        One row per object with `TABLE_COLUMNS`. Boxes are inclusive; the area is in pixels of `labels`.
    classes : ClassTable
        The classes that the numbers in the table's column ``class`` and in `semantic` refer to.
    provenance : dict
        JSON-serialisable record, sufficient to run the task again.
    masks : tuple of Mask, optional
        Candidates before the overlap rule, with their scores.
    maps : dict of tuple to ndarray, optional
        Float maps of each slice from which the labels derive, ``{index: (C, M, N) array}``, such as a map per concept.
    semantic : ndarray of unsigned int, optional
        Class of each pixel, in the shape of `labels`.
    """

    pixels: NDArray[Any] | Painting
    table: pd.DataFrame
    classes: ClassTable = OBJECT
    provenance: dict[str, Any] = field(default_factory=dict)
    masks: tuple[Mask, ...] | None = None
    maps: dict[tuple[int, ...], NDArray[Any]] | None = None
    semantic: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if missing := [c for c in TABLE_COLUMNS if c not in self.table]:
            raise ValueError(f"the table lacks the columns {missing}")
        if not self.table["label"].is_unique:
            raise ValueError("the table has two rows for one label")
        if not isinstance(self.pixels, Painting):
            _check_labels(self.pixels, self.table)
        if self.semantic is not None and self.semantic.shape != self.pixels.shape:
            raise ValueError(f"semantic has shape {self.semantic.shape}, labels {self.pixels.shape}")
        if unknown := set(self.table["class"]) - {0, *self.classes.ids}:
            raise ValueError(f"the table has objects of classes {sorted(unknown)}, which the class table lacks")
        json.dumps(self.provenance)

    @cached_property
    def labels(self) -> NDArray[Any]:
        """Label image in the image's shape without channels, uint16 or wider; 0 is background."""
        return self.pixels.draw() if isinstance(self.pixels, Painting) else self.pixels

    @property
    def count_in_words(self) -> str:
        """The number of objects in words; for a stack, also the number of slices and whether objects are linked."""
        return count_in_words(len(self), self.pixels.shape, self.provenance)

    @property
    def channel_choice(self) -> str:
        """The channels of several that were used, such as ``channel 1 of 3 (DAPI)``; empty if there is only one."""
        return str(self.provenance.get("image", {}).get("channel_choice", ""))

    @property
    def size_choice(self) -> str:
        """The diameter of the objects, if it was found, such as ``diameter 83 pixels (image shrunk to 25 %)``."""
        return size_in_words(self.provenance)

    def __len__(self) -> int:
        return int((self.table["area"] > 0).sum())


def _check_labels(labels: NDArray[Any], table: pd.DataFrame) -> None:
    if labels.dtype.kind != "u" or labels.dtype.itemsize < 2 or labels.ndim < 2:
        raise ValueError(f"labels must be uint16 or wider with 2 or more axes, got {labels.dtype} "
                         f"of shape {labels.shape}")  # fmt: skip
    largest = int(labels.max(initial=0))
    if largest and largest > int(table["label"].max() if len(table) else 0):
        raise ValueError(f"label {largest} has no row in the table")


def size_in_words(provenance: Mapping[str, Any]) -> str:
    """Return the diameter of a run's objects in words, if the run found it.

    Parameters
    ----------
    provenance : mapping
        The provenance of the run.

    Returns
    -------
    str
        Empty if the user set the diameter, or if none was found.
    """
    size = provenance.get("size", {})
    if not str(size.get("how", "")).startswith("found") or not size.get("diameter"):
        return ""
    scale = size["scale"]
    if scale == 1:
        return f"diameter {size['diameter']:.3g} pixels"
    how = f"enlarged {scale:g} times" if scale > 1 else f"shrunk to {100 * scale:.3g} %"
    return f"diameter {size['diameter']:.3g} pixels (image {how})"


def count_in_words(n: int, shape: tuple[int, ...], provenance: Mapping[str, Any]) -> str:
    """Return the number of objects in words, such as ``22 objects in 8 slices, linked``.

    Parameters
    ----------
    n : int
        Number of objects.
    shape : tuple of int
        Shape of the labels.
    provenance : mapping
        The provenance of the run.

    Returns
    -------
    str
        For a stack, also the number of slices and whether the objects are linked.
    """
    found = "No objects" if not n else "1 object" if n == 1 else f"{n} objects"
    linked = provenance.get("linked")
    axes = provenance.get("image", {}).get("axes", "")
    one_slice = provenance.get("inputs", {}).get("index") is not None
    if not n or one_slice or linked is None or len(axes) != len(shape):
        return found
    sizes = {axis: size for axis, size in zip(axes, shape, strict=True) if axis not in "YX" and size > 1}
    if not sizes:
        return found
    apart = "".join(axis for axis in sizes if axis not in linked)
    if len(apart) == len(sizes):
        how = "not linked"
    else:
        how = f"linked along {', '.join(a for a in sizes if a in linked)} only" if apart else "linked"
    return f"{found} in {prod(sizes.values())} slices, {how}"

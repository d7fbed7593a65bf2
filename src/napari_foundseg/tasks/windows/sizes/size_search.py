"""`SizedMaps`: maps of the slices of a run, each decoded at the size of the picture that suits its objects.

The user sets the diameter of the objects, or it is found: once for all slices, on a sample of them, or for each slice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.core.pixels.edges import edge_ratio
from napari_foundseg.core.pixels.noise import noise_of, smoothing_for
from napari_foundseg.core.pixels.sharpness import sharpening_for, sharpness_of
from napari_foundseg.core.watershed import instances
from napari_foundseg.models.protocols.objects import InstanceDecoding
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.instance_maps import decode_maps, resized_maps, scale_for
from napari_foundseg.tasks.windows.sizes.fusing import fuse
from napari_foundseg.tasks.windows.sizes.octaves import (
    Octave,
    best_octave,
    is_noise,
    look_at,
    look_at_octaves,
    median_diameter,
)

__all__ = ["CommonSize", "Search", "SizedMaps"]

#: How the diameter of objects is found if the user sets none.
Search = Literal["once", "each image", "each slice", "second look"]

#: Number of slices in the sample that determines the size for all slices.
_SAMPLE = 3
#: Most pixels of a slice whose octaves are kept until its maps are made.
_KEPT = 1 << 22
#: Side, in pixels, of the middle of a picture, where noise and blur are measured and a second decoding is decided on.
_MIDDLE = 512
#: Median diameter below which maps of an enlarged picture keep its size.
_TINY = 9.0
#: Longest side, in pixels, at which the edge of a large object is examined, and by which factor the picture must change
#: more there than around it. Of the objects in `train`, 1 in 100 has less than 1.2; slopes have 1.
_COMPARED = 80
_EDGE = 1.1
#: The same factor for an object that covers so much of the picture that little is visible around it; and this share.
_EDGE_OF_FILLING = 2.5
_FILLS = 0.5
#: Factor by which the objects of a slice must be larger or smaller than those of the sample to be reported.
_FAR = 3.0
#: Median diameters below and above which a picture is decoded a second time, and the scales for that.
_SMALL = 15.0
_ENLARGED = 2.0
_LARGE = 40.0
_SHRUNK = 0.7


class CommonSize(NamedTuple):
    """Size at which the objects of several images are decoded."""

    #: Factor by which the images are resized.
    scale: float
    #: Median diameter of the objects that were found, in pixels; None if there were none.
    diameter: float | None


@dataclass
class SizedMaps:
    """Maps of the slices of a run, made when they are asked for.

    Parameters
    ----------
    image : Image
        The image.
    planes : sequence of tuple of int
        The slices of the run.
    region : tuple of int
        First and last row and column, (y0, x0, y1, x1), both included.
    model : InstanceDecoding
        The model.
    poll : callable
        Called before each window; may raise to stop.
    thresholds : mapping
        Thresholds for `core.watershed.instances`.
    tile : bool
        False to pass the whole region to the model at once.
    diameter : float or None
        Diameter of the objects, in pixels; None to search for it.
    search : {"once", "each image", "each slice", "second look"}
        How to search; "once" and "each image" are the same here.
    weights : sequence of float or None
        Weights of `octaves.quality_terms`; None if they were not measured for this model, which then decodes a second
        time if its objects are small or large.
    calibration : sequence of float, optional
        Calibration for `core.watershed.instance_scores`.
    least : float
        Least confidence of an object.
    common : CommonSize or None
        Size of the objects of all images of a batch; then there is no search.
    """

    image: Image
    planes: Sequence[tuple[int, ...]]
    region: Box
    model: InstanceDecoding
    poll: Callable[[], None]
    thresholds: Mapping[str, Any]
    tile: bool
    diameter: float | None
    search: Search
    weights: Sequence[float] | None
    calibration: Sequence[float] | None
    least: float
    common: CommonSize | None = None
    found: dict[tuple[int, ...], tuple[float, float | None]] = field(default_factory=dict)
    noise_only: list[tuple[int, ...]] = field(default_factory=list)
    smoothing: float = 0.0
    _qualities: list[float] = field(default_factory=list)
    _amounts: dict[tuple[tuple[int, ...], ...], float] = field(default_factory=dict)
    #: Slices whose objects are far larger or smaller than those of the sample, with their diameter.
    _apart: dict[tuple[int, ...], float] = field(default_factory=dict)
    _scale: float | None = None
    #: Median diameter of the objects of the sample.
    _usual: float | None = None
    _kept: dict[tuple[int, ...], list[Octave]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.searches:
            self.smoothing = smoothing_for(max(noise_of(self._middle(index)) for index in self._sample))
            self._scale, self._usual = (None, None) if self.common is None else self.common

    @property
    def searches(self) -> bool:
        """Whether the size is searched for in octaves."""
        return (
            self.diameter is None
            and self.search != "second look"
            and self.weights is not None
            and self.tile
            and self.model.maps_window <= tiling.QUICK
        )

    @property
    def _shape(self) -> tuple[int, int]:
        return self.region[2] - self.region[0] + 1, self.region[3] - self.region[1] + 1

    @property
    def _sample(self) -> list[tuple[int, ...]]:
        at = np.linspace(0, len(self.planes) - 1, min(_SAMPLE + 2, len(self.planes) + 2)).round().astype(int)
        inner = at[1:-1] if len(self.planes) > 2 else at
        return [self.planes[i] for i in dict.fromkeys(inner.tolist())]

    def maps(self, index: tuple[int, ...], progress: Callable[[float], None]) -> NDArray[np.float16]:
        """Return the maps of a slice, (3, M, N): foreground, centre distance and boundary distance."""
        if not self.searches:
            return self._fixed(index, progress)
        if self.search != "each slice" and self._scale is None:
            sample = dict(zip(self._sample, self.sample_octaves(), strict=True))
            self._scale = best_octave(sample.values())
            self._usual = median_diameter(
                [one for octaves in sample.values() for one in octaves if one.scale == self._scale]
            )
            large = self._shape[0] * self._shape[1] > _KEPT
            self._kept = {one: octaves for one, octaves in sample.items() if not large or len(self.planes) == 1}
        octaves = self._kept.pop(index, None) or self._octaves(index, progress)
        if is_noise(octaves):
            self.noise_only.append(index)
            progress(1.0)
            return np.zeros((3, *self._shape), np.float16) + np.array([0, 1, 1], np.float16)[:, None, None]
        own = best_octave([octaves])
        scale = own if self._scale is None else self._scale
        # Only slices with small objects are enlarged; for the others, the picture's own size is the nearest scale.
        scale = min((octave.scale for octave in octaves), key=lambda one: abs(np.log2(one / scale)))
        seen = median_diameter([octave for octave in octaves if octave.scale == own])
        if own != scale and seen and self._usual and max(seen / self._usual, self._usual / seen) >= _FAR:
            self._apart[index] = seen
        if amount := self._sharpening(index, scale):
            again = self._look(index, scale, self._decode(index, lambda _: None, scale, amount))
            octaves = [again if octave.scale == scale else octave for octave in octaves]
        base = [octave for octave in octaves if octave.scale == scale]
        diameter = median_diameter(base)
        self._qualities += [float(quality) for octave in base for quality in octave.quality]
        self.found[index] = scale, diameter
        # Objects of few pixels lose their shape if the maps are resized to the picture's own size.
        fine = 2 if scale > 1 and diameter is not None and diameter < _TINY else 1
        rows, columns = self._shape
        maps = fuse(octaves, scale, (rows * fine, columns * fine), self.least)
        progress(1.0)
        return maps

    def told(self) -> dict[str, Any]:
        """Return the provenance entry on the diameter, how it was found, and the filters."""
        if self.diameter is not None:
            return {"diameter": self.diameter, "scale": scale_for(self.diameter), "how": "given"}
        if not self.searches:
            return {"diameter": None, "scale": 1.0, "how": "not searched for"}
        diameters = [diameter for _, diameter in self.found.values() if diameter is not None]
        if self.common is not None and self.common.diameter is not None:
            diameters = [self.common.diameter]
        scales = [scale for scale, _ in self.found.values()]
        return {
            "diameter": round(float(np.median(diameters)), 1) if diameters else None,
            "scale": float(np.median(scales)) if scales else 1.0,
            "how": "found" if self.common is None else "found in the batch",
            "smoothing": round(self.smoothing, 2),
            "sharpening": round(max(self._amounts.values(), default=0.0), 2),
            "apart": len(self._apart),
            "apart_diameter": round(float(np.median(list(self._apart.values()))), 1) if self._apart else None,
            "noise_only": len(self.noise_only),
            "expected_quality": None if self._quality is None else round(self._quality, 2),
        }

    @property
    def _quality(self) -> float | None:
        """Mean expected quality of the objects of the octaves that provided the maps."""
        return float(np.mean(self._qualities)) if self._qualities else None

    def sample_octaves(self) -> list[list[Octave]]:
        """Return the octaves of each slice of the sample."""
        return [self._octaves(one, lambda _: None) for one in self._sample]

    def _octaves(self, index: tuple[int, ...], progress: Callable[[float], None]) -> list[Octave]:
        done = 0.0

        def look(scale: float) -> Octave:
            nonlocal done
            # All octaves below the first together have a third of its pixels.
            share = 0.75 * min(scale, 1 - done) ** 2
            maps = self._decode(index, lambda part: progress(done + part * share), scale)
            done += share
            return self._look(index, scale, maps)

        return look_at_octaves(look, self._shape, self.thresholds["foreground_threshold"])

    def _look(self, index: tuple[int, ...], scale: float, maps: NDArray[np.float16]) -> Octave:
        """Find the objects in the maps of a slice at a scale."""
        assert self.weights is not None
        has_edge = partial(self._has_edge, index)
        return look_at(maps, scale, self._shape, self.thresholds, self.weights, self.calibration, has_edge)

    def _sharpening(self, index: tuple[int, ...], scale: float) -> float:
        """Return the amount of the unsharp mask at a scale, from the sample or, with "each slice", from the slice."""
        # A shrunk picture is less blurred than the picture itself, and sharpening it loses more than it gains.
        if self.smoothing or scale < 1:
            return 0.0
        indices = (index,) if self.search == "each slice" else tuple(self._sample)
        if indices not in self._amounts:
            self._amounts[indices] = sharpening_for(
                float(np.median([sharpness_of(self._middle(one)) for one in indices]))
            )
        return self._amounts[indices]

    def _has_edge(self, index: tuple[int, ...], box: Box, mask: NDArray[np.bool_]) -> bool:
        """Tell whether the picture changes more at the rim of an object than around it."""
        from PIL.Image import Resampling, fromarray

        shrunk = min(1.0, _COMPARED / max(mask.shape))
        size = max(1, round(mask.shape[1] * shrunk)), max(1, round(mask.shape[0] * shrunk))
        grey = self.image.rgb(index, tiling.shifted(box, self.region[:2])).mean(axis=-1, dtype=np.float32)
        picture = np.asarray(fromarray(grey).resize(size, Resampling.BILINEAR))
        own = np.asarray(fromarray(mask.astype(np.uint8)).resize(size, Resampling.NEAREST)) > 0
        height, width = (after - before + 1 for before, after in zip(box[:2], box[2:], strict=True))
        share = float(mask.mean()) * height * width / (self._shape[0] * self._shape[1])
        return edge_ratio(picture, own) >= (_EDGE if share < _FILLS else _EDGE_OF_FILLING)

    def _decode(
        self,
        index: tuple[int, ...],
        progress: Callable[[float], None],
        scale: float = 1.0,
        sharpening: float = 0.0,
    ) -> NDArray[np.float16]:
        # Resizing changes the strength of noise, so the filter has the same width in pixels of the original picture.
        smoothing = self.smoothing * scale if self.smoothing * scale >= 0.3 else 0.0
        return decode_maps(
            self.image, index, self.region, self.model, self.poll, progress,
            tile=self.tile, scale=scale, smoothing=smoothing, sharpening=sharpening,
        )  # fmt: skip

    def _middle(self, index: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the middle of a slice, grey, as the model sees it without a filter."""
        (top, left), (rows, columns) = self.region[:2], self._shape
        y, x = ((n - min(n, _MIDDLE)) // 2 for n in (rows, columns))
        box = (top + y, left + x, top + y + min(rows, _MIDDLE) - 1, left + x + min(columns, _MIDDLE) - 1)
        return np.asarray(self.image.rgb(index, box).mean(axis=-1))

    def _fixed(self, index: tuple[int, ...], progress: Callable[[float], None]) -> NDArray[np.float16]:
        """Decode at the scale for the diameter; without one, decode a second time if the objects are small or large."""
        scale = scale_for(self.diameter)
        if self.diameter is not None or not self.tile or self.model.maps_window > tiling.QUICK:
            return resized_maps(self._decode(index, progress, scale), self._shape)
        maps = self._decode(index, lambda share: progress(share / 2))
        again = _another_scale(maps, self.thresholds)
        if again is None:
            progress(1.0)
            return maps
        # In place and in float16: the maps of a large picture take gigabytes.
        maps += resized_maps(self._decode(index, lambda share: progress((1 + share) / 2), again), self._shape)
        maps *= np.float16(0.5)
        return maps


def _another_scale(maps: NDArray[np.float16], thresholds: Mapping[str, Any]) -> float | None:
    """Return the scale for a second decoding, or None if the picture's own size suits its objects."""
    y, x = ((n - min(n, _MIDDLE)) // 2 for n in maps.shape[1:])
    middle = maps[:, y : y + _MIDDLE, x : x + _MIDDLE]
    found = instances(middle, **thresholds)
    if not found.any() and middle.shape != maps.shape:
        found = instances(maps, **thresholds)
    if not found.any():
        return None
    diameter = float(np.median(np.sqrt(4 / np.pi * np.bincount(found.ravel())[1:])))
    return _ENLARGED if diameter < _SMALL else _SHRUNK if diameter > _LARGE else None

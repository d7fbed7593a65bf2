"""A `SlicedArray` with contrast: grey values that become black and white, measured on a sample of the whole stack."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.contrast import AsIs, CTWindow, FoundLimits, Limits, MinMax, Percentile
from napari_foundseg.core.pixels.fading import Fading, find_fading
from napari_foundseg.core.pixels.grey_limits import measure_limits
from napari_foundseg.core.pixels.outliers import BurntIn, burnt_in_pixels
from napari_foundseg.core.pixels.sampling import sampled_slices
from napari_foundseg.core.pixels.sliced_array import SlicedArray

__all__ = ["MeasuredArray"]


class MeasuredArray(SlicedArray):
    """Base of `Image`: properties that follow from its normalisation and the grey values of its channels."""

    normalisation: Percentile | AsIs | MinMax | Limits | CTWindow | None

    @property
    @abstractmethod
    def chosen_channels(self) -> tuple[int, ...]:
        """Numbers of the channels that are used; empty if the image has no channel axis."""

    @abstractmethod
    def _planes(
        self, most: int = 0, channels: tuple[int, ...] | None = None
    ) -> tuple[list[NDArray[Any]], tuple[float, float]]:
        """Return a sample of the slices, as `sample_planes` does."""

    @property
    def is_photograph(self) -> bool:
        """Whether the pixels are 8-bit RGB and all three colours are used in their order."""
        return self.dtype == np.uint8 and self._axes.endswith("C") and self.chosen_channels == (0, 1, 2)

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The grey values that become 0 and 255, the same for the whole stack."""
        norm = self.normalisation
        if isinstance(norm, Limits):
            return norm.low, norm.high
        if isinstance(norm, CTWindow):
            return norm.level - norm.width / 2, norm.level + norm.width / 2
        if isinstance(norm, AsIs) and self.is_photograph:
            return 0.0, 255.0
        return (0.0, 1.0) if self.dtype == bool else (self._measured[0].low, self._measured[0].high)

    @property
    def doubts(self) -> str:
        """Doubts about the grey values, such as one value everywhere or changed limits; empty if there are none."""
        found, doubts = self._measured
        return " ".join(filter(None, (doubts, found.mended)))

    @property
    def known_doubts(self) -> str:
        """The `doubts`, but empty if more pixels of a lazy array than for `limits` would have to be read for them."""
        measured = not isinstance(self.normalisation, Limits | CTWindow | AsIs) or "_measured" in vars(self)
        return self.doubts if measured or isinstance(self.levels[0], np.ndarray) else ""

    @property
    def suspicion(self) -> str:
        """A possible fault of the contrast, for a run that finds nothing; empty if nothing is odd."""
        return self._measured[0].suspicion

    @property
    def burnt_in(self) -> BurntIn | None:
        """A scale bar, frame or mark that is replaced by the ground for models; None until `limits` are measured."""
        return self._measured[0].burnt_in if "_measured" in vars(self) else None

    @cached_property
    def _measured(self) -> tuple[FoundLimits, str]:
        """Limits and doubts, measured on one sample."""
        shows_as_it_is = isinstance(self.normalisation, Limits | CTWindow) or (
            isinstance(self.normalisation, AsIs) and self.is_photograph
        )
        found, doubts = measure_limits(self._planes, self.normalisation, self.limits if shows_as_it_is else None)
        fading = None if shows_as_it_is else self._find_fading()
        if fading is None:
            return found, doubts
        words = (
            f"The brightness falls to {100 * fading.share:.2g} % from the first to the last slice: each has contrast "
        )
        mended = " ".join(filter(None, (found.mended, f"{words}limits of its own.")))
        return replace(found, fading=fading, mended=mended), doubts

    def _find_fading(self) -> Fading | None:
        """Return the limits of slices of a grey stack whose brightness decays along its only axis."""
        normalisation = self.normalisation or Percentile()
        if not isinstance(normalisation, Percentile) or normalisation.outliers == "kept" or self.dtype == bool:
            return None
        lengths = {axis: n for axis, n in zip(self.slice_axes, self.slice_shape, strict=True) if n > 1}
        if len(lengths) != 1:
            return None
        ((axis, length),) = lengths.items()
        planes, _ = self._planes()
        at = sampled_slices(length)
        if len(at) != len(planes):
            return None
        return find_fading(planes, at.tolist(), normalisation.low, normalisation.high, in_time=axis == "T")

    @property
    def fading(self) -> Fading | None:
        """The limits of each slice of a stack whose brightness decays; None until `limits` are measured."""
        return self._measured[0].fading if "_measured" in vars(self) else None

    def limits_of(self, index: tuple[int, ...]) -> tuple[float, float]:
        """Return the grey values of a slice that become 0 and 255: those of the stack, unless its brightness decays.

        Parameters
        ----------
        index : tuple of int
            The slice, one number for each of `slice_axes`.

        Returns
        -------
        tuple of float
            The two values.
        """
        limits = self.limits
        fading = self.fading
        return limits if fading is None else fading.limits(max(index, default=0))

    def _without_burnt_in(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return grey values with a scale bar, frame or mark replaced by the ground, if the limits ignore it."""
        found = self.burnt_in
        if found is None or pixels.ndim != 2:
            return pixels
        return np.where(burnt_in_pixels(pixels, found.value), np.asarray(found.ground, pixels.dtype), pixels)

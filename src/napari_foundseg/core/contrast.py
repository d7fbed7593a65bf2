"""Normalisation: map grey values of any dtype to the 8 bits that models expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.pixels.fading import Fading
from napari_foundseg.core.pixels.outliers import BurntIn, burnt_in_pixels, find_burnt_in, typical_limit

__all__ = [
    "AsIs",
    "CTWindow",
    "FoundLimits",
    "Limits",
    "MinMax",
    "Normalisation",
    "Percentile",
    "describe_normalisation",
    "doubts_of",
    "find_limits",
    "find_limits_without_outliers",
    "to_uint8",
]


class Percentile(Declared):
    """Stretch between two percentiles, the same for every slice of a stack and every colour channel.

    The plain percentiles would lose the picture if nearly all pixels have one value, or if many have a fill value or
    are saturated. Then the percentiles are those of the other pixels, and `Image.doubts` says so.
    """

    kind: Literal["percentile"] = "percentile"
    low: float = Field(0.5, ge=0, le=100)
    high: float = Field(99.5, ge=0, le=100)
    outliers: Literal["kept", "left out"] = "left out"
    """Whether a few very bright pixels, scale bars and frames of grey pictures count. Kept: they count, as in records
    of earlier versions, which lack this field."""

    @model_serializer(mode="wrap")
    def _as_then(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write a record without the field `outliers` if its value is that of earlier versions: digests stay equal."""
        values: dict[str, Any] = write(self)
        return values if self.outliers != "kept" else {n: v for n, v in values.items() if n != "outliers"}

    @model_validator(mode="before")
    @classmethod
    def _as_of_then(cls, values: Any) -> Any:
        """Read a record of an earlier version. Only records have a `kind`; calls have none."""
        if isinstance(values, Mapping) and "kind" in values and "outliers" not in values:
            return {**values, "outliers": "kept"}
        return values

    @model_validator(mode="after")
    def _ordered(self) -> Percentile:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        return self


class AsIs(Declared):
    """Keep 8-bit RGB unchanged, as networks trained on photographs expect; other images as with `Percentile()`."""

    kind: Literal["as is"] = "as is"


class MinMax(Declared):
    """Stretch from the least to the greatest value of the whole stack."""

    kind: Literal["min to max"] = "min to max"


class Limits(Declared):
    """Stretch between two grey values, such as a layer's contrast limits."""

    kind: Literal["limits"] = "limits"
    low: float
    high: float


class CTWindow(Declared):
    """A CT window: `level` ± `width` / 2, in Hounsfield units."""

    kind: Literal["ct"] = "ct"
    level: float
    width: float = Field(gt=0)


Normalisation = Annotated[Percentile | AsIs | MinMax | Limits | CTWindow, Field(discriminator="kind")]

#: A value is far from the others if its distance from them is more than this many times their range.
_FAR = 3.0
#: Grey values show something if they extend to one side by more than this many times their noise.
_STRUCTURED = 4.0
#: Least share of a plane that pixels other than a bright fill value cover in one piece.
_SOLID = 0.2
#: Least share of a plane, or of one of its sides, that a fill value covers in one piece.
_FILLED = 0.1
_FILLED_SIDE = 0.5
#: Least number of pixels that can show an object.
_FEWEST = 9
#: Neighbouring pixels, corners included.
_EIGHT = np.ones((3, 3), bool)
#: Fill values of floats that no camera measures.
_ABSURD = 1e30


@dataclass(frozen=True)
class FoundLimits:
    """The measured limits of a stretch.

    Parameters
    ----------
    low, high : float
        The grey values that become 0 and 255.
    mended : str
        How the limits were changed because the plain ones would have lost the picture; empty if nothing was changed.
    suspicion : str
        A possible fault of the limits, for a run that finds nothing; empty if nothing is odd.
    burnt_in : BurntIn, optional
        A scale bar, frame or mark to replace by the background.
    fading : Fading, optional
        The limits of each slice, where the brightness decays from one to the next.
    """

    low: float
    high: float
    mended: str = ""
    suspicion: str = ""
    burnt_in: BurntIn | None = None
    fading: Fading | None = None


def describe_normalisation(normalisation: Percentile | AsIs | MinMax | Limits | CTWindow) -> str:
    """Return a normalisation in words, such as ``percentiles 0.5 to 99.5``.

    Parameters
    ----------
    normalisation : Percentile or AsIs or MinMax or Limits or CTWindow
        The normalisation.

    Returns
    -------
    str
        Words for a form or a table.
    """
    if isinstance(normalisation, Percentile):
        return f"percentiles {normalisation.low:g} to {normalisation.high:g}"
    if isinstance(normalisation, AsIs):
        return "8-bit RGB as it is"
    if isinstance(normalisation, MinMax):
        return "min to max"
    if isinstance(normalisation, Limits):
        return f"limits {normalisation.low:g} to {normalisation.high:g}"
    return f"CT window {normalisation.level:g} ± {normalisation.width / 2:g} HU"


def doubts_of(sample: NDArray[Any]) -> str:
    """Return the reasons why grey values cannot be segmented, or not fully.

    Parameters
    ----------
    sample : ndarray
        Grey values of any real dtype.

    Returns
    -------
    str
        Sentences to show; empty if nothing is wrong.
    """
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return "No pixel has a finite value, so that there is nothing to see."
    words = []
    if finite.size < sample.size:
        share = 100 * (1 - finite.size / sample.size)
        words.append(f"{share:.2g} % of the pixels are NaN or infinite; they count as darkest or brightest.")
    if finite.min() == finite.max():
        words.append(f"All pixels have the value {finite.min():g}, so that there is nothing to see.")
    return " ".join(words)


def find_limits_without_outliers(planes: Sequence[NDArray[Any]], low: float = 0.5, high: float = 99.5) -> FoundLimits:
    """Find two percentiles of a grey picture, ignoring a few very bright pixels, scale bars and frames.

    Parameters
    ----------
    planes : sequence of (M, N) ndarray
        Slices of any real dtype, or a subsample of their rows and columns. At least one pixel is finite.
    low, high : float
        The percentiles.

    Returns
    -------
    FoundLimits
        The limits, like those of `find_limits`. Colour planes are passed to `find_limits` unchanged.
    """
    if any(plane.ndim != 2 for plane in planes):
        return find_limits(planes, low, high)
    burnt_in = find_burnt_in(planes)
    words = []
    if burnt_in is not None:
        planes = [
            np.where(burnt_in_pixels(plane, burnt_in.value), np.asarray(burnt_in.ground, plane.dtype), plane)
            for plane in planes
        ]
        words.append(
            f"{100 * burnt_in.share:.2g} % of the pixels have the value {burnt_in.value:g}, as a scale bar, a frame or "
            f"a mark has: they are left out, and models see the background ({burnt_in.ground:.4g}) in their place."
        )
    found = find_limits(planes, low, high)
    limit = None if found.mended else typical_limit(planes, found.low, found.high)
    if limit is not None:
        words.append(
            f"A few pixels are far brighter than most objects: the contrast ends at {limit:.4g}, not {found.high:.4g}."
        )
        found = replace(found, high=limit)
    return replace(found, mended=" ".join(filter(None, [*words, found.mended])), burnt_in=burnt_in)


def find_limits(planes: Sequence[NDArray[Any]], low: float = 0.5, high: float = 99.5) -> FoundLimits:
    """Find two percentiles of grey values between which the picture is visible.

    The plain percentiles are used wherever they show the picture. Other pixels give the percentiles in two cases: the
    plain ones are equal, or one of them is a value that many pixels have and that is far from all others (a fill value,
    or saturation).

    Parameters
    ----------
    planes : sequence of (M, N) or (M, N, C) ndarray
        Slices of any real dtype, or a subsample of their rows and columns. At least one pixel is finite.
    low, high : float
        The percentiles; 0 and 100 are the least and greatest value.

    Returns
    -------
    FoundLimits
        Of all planes together.
    """
    values = np.concatenate([plane[np.isfinite(plane)] for plane in planes])
    words: list[str] = []
    if values.dtype.kind == "f" and values.dtype.itemsize > 2:
        absurd = np.abs(values) >= _ABSURD
        if absurd.any() and np.unique(values[absurd]).size <= 2 and np.count_nonzero(~absurd) >= _FEWEST:
            words.append(f"{_share(absurd)} of the pixels have a fill value ({values[absurd][0]:.3g}), left out.")
            values = values[~absurd]
    first, last = map(float, np.percentile(values, (low, high)))
    shown = values
    ground = None
    if first == last and values.min() < values.max():
        ground = first
        shown = _others(planes, values, ground)
        first, last = map(float, np.percentile(shown, (low, high)))
        first = min(first, ground)
        last = max(last, ground)
        words.append(
            f"{_share(values == ground)} of the pixels have the value {ground:g}, so that the percentiles {low:g} and "
            f"{high:g} are equal: the other pixels give the contrast ({first:g} to {last:g})."
        )
    elif (low, high) == (0, 100):
        first, last, single = _without_single_pixels(planes, values)
        words += [single] if single else []
    suspicion = ""
    for end in ("high", "low"):
        fill = last if end == "high" else first
        if fill == ground:
            continue
        found = _without_fill(planes, shown, fill, end, (low, high), ground is not None)
        if found is None:
            continue
        rest, inner, sure = found
        told = f"{_share(values == fill)} of the pixels have the value {fill:g}, far from all others"
        if not sure:
            suspicion = f"{told} ({inner[0]:g} to {inner[1]:g}). Choose other contrast limits if these show nothing."
            continue
        shown = rest
        first, last = inner if ground is None else (min(inner[0], ground), max(inner[1], ground))
        words.append(f"{told}, which give the contrast ({first:g} to {last:g}).")
    return FoundLimits(first, last, " ".join(words), suspicion)


def _share(flags: NDArray[np.bool_]) -> str:
    count = int(np.count_nonzero(flags))
    percent = 100 * count / flags.size
    if percent < 0.01:
        return f"{count}"
    return f"{percent:.4g} %" if percent > 99 else f"{percent:.2g} %"


def _others(planes: Sequence[NDArray[Any]], values: NDArray[Any], ground: float) -> NDArray[Any]:
    """Return the values that are not the background's. Isolated pixels count only if too few others are left."""
    from scipy import ndimage

    solid = []
    for plane in planes:
        for channel in np.moveaxis(np.atleast_3d(plane), -1, 0):
            other = np.isfinite(channel) & (channel != ground)
            near = ndimage.convolve(other.astype(np.uint8), _EIGHT.astype(np.uint8), mode="constant")
            solid.append(channel[other & (near > 1)])
    found = np.concatenate(solid)
    return found if found.size >= _FEWEST else values[values != ground]


def _without_single_pixels(planes: Sequence[NDArray[Any]], values: NDArray[Any]) -> tuple[float, float, str]:
    """Return the least and greatest value without single very bright pixels, and a sentence about the omission."""
    from scipy import ndimage

    least = float(values.min())
    greatest = float(values.max())
    inner = np.percentile(values, (0.5, 99.5))
    if greatest - inner[1] <= _FAR * (inner[1] - inner[0]):
        return least, greatest, ""
    edge = (inner[1] + greatest) / 2
    hot = values > edge
    for plane in planes:
        for channel in np.moveaxis(np.atleast_3d(plane), -1, 0):
            bright = np.isfinite(channel) & (channel > edge)
            near = ndimage.convolve(bright.astype(np.uint8), _EIGHT.astype(np.uint8), mode="constant")
            if (bright & (near > 1)).any():
                return least, greatest, ""
    last = float(values[~hot].max())
    return least, last, f"{hot.sum()} single pixels far above all others are left out: the brightest is now {last:g}."


def _without_fill(
    planes: Sequence[NDArray[Any]],
    values: NDArray[Any],
    fill: float,
    end: str,
    percentiles: tuple[float, float],
    on_ground: bool,
) -> tuple[NDArray[Any], tuple[float, float], bool] | None:
    """Return the other values, their percentiles, and whether `fill` surely shows nothing; None if it is not far off.

    With `on_ground`, the background's one value has already been removed, so all of `values` show something.
    """
    filled = int(np.count_nonzero(values == fill))
    if not 0.001 * values.size <= filled <= values.size - _FEWEST:
        return None
    rest = values[values != fill]
    low, middle_low, middle, middle_high, high = map(float, np.percentile(rest, (0.5, 16, 50, 84, 99.5)))
    gap = fill - high if end == "high" else low - fill
    if low == high or gap <= _FAR * (high - low):
        return None
    inner = tuple(map(float, np.percentile(rest, percentiles)))
    above = (high - middle) > _STRUCTURED * (middle - middle_low)
    below = (middle - low) > _STRUCTURED * (middle_high - middle)
    if on_ground:
        sure = rest.size >= filled
    else:
        solid = _covers(planes, fill, others=_SOLID if end == "high" else 0.5)
        sure = solid and (above or below or _covers(planes, fill))
    return rest, (inner[0], inner[1]), sure


def _covers(planes: Sequence[NDArray[Any]], fill: float, others: float = 0) -> bool:
    """Tell whether the fill value covers much of a plane in one piece; with `others`, whether all other pixels do."""
    from scipy import ndimage

    for plane in planes:
        flags = (plane if plane.ndim == 2 else plane[..., 0]) == fill
        pieces, count = ndimage.label(~flags if others else flags, _EIGHT)
        if not count:
            continue
        sizes = np.bincount(pieces.ravel())
        if sizes[1:].max() >= (others or _FILLED) * flags.size:
            return True
        if others:
            continue
        for side in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
            if np.bincount(side, minlength=2)[1:].max() >= _FILLED_SIDE * side.size:
                return True
    return False


def to_uint8(array: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Map grey values to 8 bits, `low` to 0 and `high` to 255, clipped.

    Parameters
    ----------
    array : ndarray
        Grey values of any real dtype. NaN becomes 0; infinities become the nearer end.
    low, high : float
        The two values. If they are equal or not in order, everything becomes 0.
    """
    if not high > low:
        return np.zeros(array.shape, np.uint8)
    if array.dtype.kind in "bui" and array.dtype.itemsize <= 2:
        # There are few possible values: a lookup table is exact and several times faster than arithmetic on the image.
        first = np.iinfo(array.dtype).min if array.dtype.kind == "i" else 0
        count = 2 if array.dtype.kind == "b" else 1 << (8 * array.dtype.itemsize)
        table = _scale(np.arange(first, first + count, dtype=np.float64), low, high)
        if array.dtype.kind == "i":
            return table[array.astype(np.int32) - first]
        return np.asarray(np.take(table, array))
    wide = np.float64 if array.dtype.itemsize > 4 or array.dtype.kind in "ui" else np.float32
    return _scale(array.astype(wide), low, high)


def _scale(array: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.clip((array - array.dtype.type(low)) * array.dtype.type(255.0 / (high - low)), 0, 255)
    return np.asarray(np.nan_to_num(scaled + 0.5, nan=0.0), dtype=np.uint8)

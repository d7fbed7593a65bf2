"""Classify the colours of an RGB picture: grey, one colour, the dyes of a fluorescence image, or real colours.

The means of 4 by 4 pixels are measured, which have little of the noise and of the colour artefacts of JPEG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.pixels.channels import COLOURS
from napari_foundseg.core.pixels.dyes import choose_dye

__all__ = ["ColourRule", "Dye", "FoundColour", "find_colour"]

#: How a model uses an RGB picture: as RGB; or a picture of one colour as grey; or also one of several dyes on black.
ColourRule = Literal["RGB", "grey", "one dye"]
Kind = Literal["grey", "one colour", "dyes", "colour"]

#: Side of the squares that are averaged, and the shortest side of a picture for which they are.
_SQUARE = 4
_LONG = 64
#: A pixel has colour if its channels differ by more than this share of the brightest value, and for integers by more
#: than this number.
_TINT = 0.04
_STEPS = 2.5
#: Least brightness of lit pixels, as a share of the brightest.
_LIT = 0.2
#: Largest share of a picture for marks such as a scale bar, and of the lit pixels for colour that is ignored.
_MARKS = 0.05
_UNSEEN = 0.002
#: A channel is another one times a factor if it deviates by more than this in only few of the lit pixels.
_OFF = 0.1
_FEW = 0.025
#: Largest difference between two channels of one dye, and between a channel that two dyes share and their sum.
_SAME = 0.06
#: Least saturation (HSV) of the bright pixels of one colour on black. Paler pixels may be anything.
_SATURATED = 0.3
#: Greatest brightness of a dark background, as a share of the brightest.
_DARK = 0.35
#: A channel below the first value shows nothing. One below the second may be leakage from another dye.
_FAINT = 0.08
_LEAK = 0.25
#: Least share of background in a picture of dyes, and least share of one dye alone in its other pixels.
_BACKGROUND = 0.1
_PURE = 0.01
#: Correlation below which at least two of three dyes are. The channels of a photograph all show the same scene.
_APART = 0.5


class Dye(NamedTuple):
    """The name of a dye's colour, and its channel, if possible one without other dyes."""

    name: str
    channel: int


@dataclass(frozen=True)
class FoundColour:
    """The kind of colours of a picture, and the channels to use.

    Parameters
    ----------
    kind : {'grey', 'one colour', 'dyes', 'colour'}
        Grey: three channels that are alike. One colour: black to one colour, as a grey picture is exported. Dyes: a
        fluorescence image of two or three dyes, each with its colour. Colour: stained tissue, a photograph, or unclear.
    channels : tuple of int
        The channels to use: one, or all three.
    dyes : tuple of Dye
        The dyes, the used one first; empty for grey and for real colours.
    why : str
        A sentence or two about the finding and the used channels.
    hidden : str
        A sentence about transparent pixels; empty if there are none.
    """

    kind: Kind
    channels: tuple[int, ...]
    dyes: tuple[Dye, ...]
    why: str
    hidden: str = ""

    def to_record(self) -> dict[str, Any]:
        """Return all fields as plain JSON, for provenance."""
        return {**vars(self), "channels": list(self.channels), "dyes": [list(dye) for dye in self.dyes]}

    @classmethod
    def of_record(cls, values: Mapping[str, Any]) -> FoundColour:
        """Return the colours that a result of `to_record` describes."""
        known = dict(values)
        channels = tuple(known.pop("channels"))
        dyes = tuple(Dye(*dye) for dye in known.pop("dyes"))
        return cls(channels=channels, dyes=dyes, **known)

    def used_as(self, rule: ColourRule) -> FoundColour:
        """Return the same colours with the channels that a rule uses."""
        if rule == "one dye" or (rule == "grey" and self.kind != "dyes"):
            return self
        dyes = f"Dyes on black, {_listed(self.dyes)}: all are seen, as RGB." if self.kind == "dyes" else "Used as RGB."
        return replace(self, channels=(0, 1, 2), why=dyes)

    @property
    def name(self) -> str:
        """The name of the used channels, such as ``blue only``, ``magenta`` or ``RGB``."""
        if len(self.channels) != 1:
            return "RGB"
        name = self.dyes[0].name if self.dyes else COLOURS[self.channels[0]]
        return f"{name} only" if self.kind == "one colour" else name

    @property
    def words(self) -> str:
        """The used channel in words, such as ``blue only, as grey``; empty if all three channels are used."""
        if len(self.channels) != 1:
            return ""
        if self.kind == "grey":
            return f"{self.name} channel of a grey picture"
        return f"{self.name}, as grey" if self.kind == "one colour" else f"{self.name} of {_listed(self.dyes)}"


def find_colour(planes: Sequence[NDArray[Any]]) -> FoundColour:
    """Find the kind of colours of a picture.

    Parameters
    ----------
    planes : sequence of (M, N, 3) or (M, N, 4) ndarray
        Slices of one stack in RGB or RGBA, of any real dtype. Transparent pixels are left out.

    Returns
    -------
    FoundColour
        One result for all planes.
    """
    seen, said = _transparent(planes)
    pictures = [_means(plane, there) for plane, there in zip(planes, seen, strict=True)]
    found = _of_pictures(planes, seen, pictures)
    return replace(found, hidden=said)


def _of_pictures(
    planes: Sequence[NDArray[Any]],
    seen: Sequence[NDArray[np.bool_] | None],
    pictures: Sequence[NDArray[np.float32]],
) -> FoundColour:
    """Return the colours of planes whose means are `pictures`."""
    pixels = _flat(pictures)
    if not len(pixels):
        return _real("No pixel has a finite value")
    strong = pixels.max(axis=1)
    top = float(_tops(strong))
    tint = strong - pixels.min(axis=1)
    coloured = tint > max(_TINT * top, _STEPS if planes[0].dtype.kind in "ui" else 0.0)
    lit = max(int(np.count_nonzero(strong > _LIT * top)), 1)
    if coloured.sum() <= _UNSEEN * lit or coloured.sum() <= 1 < lit:
        return FoundColour("grey", (0, 1, 2), (), "Grey: red, green and blue are equal.")
    if np.array_equal(pixels.min(axis=0), pixels.max(axis=0)):
        return _real("All pixels have one colour")
    unmarked = _without_white_marks(planes, seen)
    ground = np.percentile(unmarked, 5, axis=0)
    name, number = _one_colour(unmarked, np.zeros(3)) or _one_colour(unmarked, ground) or ("", 0)
    if name:
        also = "" if name == COLOURS[number] else f" (its {COLOURS[number]} channel)"
        why = f"One colour, {name}, on black: it is used as a grey picture{also}."
        return FoundColour("one colour", (number,), (Dye(name, number),), why)
    if coloured.mean() <= _MARKS and _are_marks(pixels[coloured], top):
        return _grey_below_marks(pixels, coloured)
    dyes = _dyes(unmarked - ground, ground)
    if len(dyes) < 2:
        return _real("The colours are neither one nor those of separate dyes on black")
    number = choose_dye([picture - ground for picture in pictures], [dye.channel for dye in dyes])
    dyes = sorted(dyes, key=lambda dye: dye.channel != number)
    why = (
        f"Dyes on black, {_listed(dyes)}: {_in_words(dyes[0])} is used, as grey. Choose another colour if that shows "
        "the objects."
    )
    return FoundColour("dyes", (number,), tuple(dyes), why)


def _flat(pictures: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures] or [np.empty((0, 3), np.float32)])
    finite: NDArray[np.float32] = pixels[np.isfinite(pixels).all(axis=1)]
    return finite


def _without_white_marks(
    planes: Sequence[NDArray[Any]], seen: Sequence[NDArray[np.bool_] | None]
) -> NDArray[np.float32]:
    """Return the means without white marks, such as a scale bar, and the pixels next to them, if marks are few."""
    from scipy import ndimage

    white = float(np.max([np.max(plane[..., :3], where=np.isfinite(plane[..., :3]), initial=0) for plane in planes]))
    kept = []
    for plane, flags in zip(planes, seen, strict=True):
        colours = plane[..., :3]
        darkest = colours.min(axis=-1)
        marks = (darkest >= 0.75 * white) & (colours.max(axis=-1) - darkest <= 0.2 * white)
        if marks.mean() > _MARKS or not marks.any() or np.median(darkest[marks]) < 0.9 * white:
            marks[:] = False
        near = ndimage.binary_dilation(marks, iterations=_SQUARE) if marks.any() else marks
        kept.append(_means(plane, ~near if flags is None else flags & ~near))
    return _flat(kept)


def _tops(values: NDArray[Any]) -> NDArray[Any]:
    """Return the brightest value of each channel, ignoring a few pixels: cells may cover very little of a picture."""
    few = min(len(values) - 1, max(4, len(values) // 4000))
    return np.asarray(np.partition(values, -1 - few, axis=0)[-1 - few])


def _one_colour(pixels: NDArray[np.float32], ground: NDArray[Any]) -> tuple[str, int] | None:
    """Return the colour's name and its strongest channel if all pixels are on one ray from black or a dark ground."""
    shown = pixels - ground
    spans = _tops(shown)
    number = int(spans.argmax())
    varies = float(spans[number] - np.percentile(shown[:, number], 5))
    if varies <= 0 or ground.max() > _DARK * spans.max():
        return None
    bright = shown[:, number] >= 0.5 * spans[number]
    pale = 1 - pixels[bright].min(axis=1) / np.maximum(pixels[bright].max(axis=1), 1e-9)
    if np.median(pale) < _SATURATED:
        return None
    # Measured on neighbouring squares: nearly everywhere, only noise makes them differ.
    noise = float(np.median(np.abs(np.diff(shown, axis=0))))
    most = min(max(_OFF * varies, 4 * noise), 2 * _OFF * varies)
    if not all(_follows(shown[:, c], shown[:, number], most) for c in range(3) if c != number):
        return None
    return _name(spans / spans[number]), number


def _dyes(shown: NDArray[np.float32], ground: NDArray[Any]) -> list[Dye]:
    """Return two or three dyes on black; an empty list if there are none."""
    spans = _tops(shown)
    span = float(spans.max())
    if span <= 0 or ground.max() > _DARK * span:
        return []
    relative = shown / np.maximum(spans, _FAINT * span)
    on = relative > 0.3
    off = relative < 0.15
    lit = ~off.all(axis=1)
    if 1 - lit.mean() < _BACKGROUND:
        return []
    on, off = on[lit], off[lit]
    pure = [float((on[:, c] & np.delete(off, c, axis=1).all(axis=1)).mean()) for c in range(3)]
    mixed = [float((off[:, c] & np.delete(on, c, axis=1).all(axis=1)).mean()) for c in range(3)]
    weakest = int(spans.argmin())
    a, b = (c for c in range(3) if c != weakest)
    if spans[weakest] <= _LEAK * span and _is_sum(shown, weakest, span, _OFF):
        return [Dye(COLOURS[a], a), Dye(COLOURS[b], b)] if max(pure[a], pure[b]) >= _PURE else []
    for own in range(3):
        a, b = (c for c in range(3) if c != own)
        equal = 0.5 < spans[b] / max(spans[a], 1e-9) < 2 and _follows(shown[:, b], shown[:, a], _SAME * span)
        if equal and max(pure[own], mixed[own]) >= _PURE:
            # Such as green and magenta: red and blue are equal.
            strongest = max((a, b), key=lambda c: spans[c])
            return [Dye(COLOURS[own], own), Dye(_name(np.arange(3) != own), strongest)]
    for shared in range(3):
        a, b = (c for c in range(3) if c != shared)
        apart = pure[shared] < _PURE and max(mixed[a], mixed[b]) >= 2 * _PURE
        if apart and spans[shared] > 0.5 * span and _is_sum(shown, shared, span, _SAME):
            # Such as cyan and magenta, which share blue.
            return [Dye(_name(np.isin(range(3), (c, shared))), c) for c in (a, b)]
    alike = np.asarray(np.corrcoef(shown.T))[[0, 0, 1], [1, 2, 2]]
    if alike.min() > _APART or np.sort(pure)[1] < _PURE:
        return []
    return [Dye(COLOURS[c], c) for c in range(3)]


def _is_sum(shown: NDArray[np.float32], channel: int, span: float, most: float) -> bool:
    """Tell whether a channel is a weighted sum of the two others, except in few pixels and where it is saturated."""
    others = np.delete(shown, channel, axis=1)
    target = shown[:, channel]
    below = target < 0.97 * max(float(target.max()), 1e-9)
    factors = np.maximum(np.linalg.lstsq(others[below], target[below], rcond=None)[0], 0)
    off = np.abs(target - others @ factors) > most * span
    lit = below & (shown.max(axis=1) > _LIT * span)
    return bool(off[lit].mean() <= _FEW) and not (target.max() > 0.5 * span and factors.min() < 0.3)


def _real(reason: str) -> FoundColour:
    return FoundColour("colour", (0, 1, 2), (), f"{reason}: used as RGB.")


def _transparent(planes: Sequence[NDArray[Any]]) -> tuple[list[NDArray[np.bool_] | None], str]:
    """Return the masks of pixels that are not transparent (None for all), and a sentence about transparent pixels."""
    if planes[0].shape[-1] != 4:
        return [None] * len(planes), ""
    seen = [plane[..., 3] > 0 for plane in planes]
    share = 1 - float(np.mean([flags.mean() for flags in seen]))
    if share == 0:
        return [None] * len(planes), ""
    if share == 1:
        return [None] * len(planes), "The picture is wholly transparent (alpha 0); its colours are used all the same."
    return list(seen), f"{100 * share:.2g} % of the pixels are transparent (alpha 0); their colours are used, too."


def _means(plane: NDArray[Any], seen: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Return the means of squares of a plane in float32. Transparent pixels become NaN."""
    values = plane[..., :3].astype(np.float32)
    if seen is not None:
        values[~seen] = np.nan
    if min(values.shape[:2]) < _LONG:
        return values
    rows, columns = (n // _SQUARE for n in values.shape[:2])
    squares = values[: rows * _SQUARE, : columns * _SQUARE].reshape(rows, _SQUARE, columns, _SQUARE, 3)
    means: NDArray[np.float32] = squares.mean(axis=(1, 3))
    return means


def _are_marks(coloured: NDArray[np.float32], brightest: float) -> bool:
    """Tell whether coloured pixels were drawn: they have few colours, and strong ones."""
    if len(coloured) <= 4:
        return True
    tint = coloured.max(axis=1) - coloured.min(axis=1)
    strong = coloured[tint > 0.4 * brightest]
    if len(strong) < 0.3 * len(coloured):
        return False
    low = strong.min(axis=1, keepdims=True)
    hues = ((strong - low) / (strong.max(axis=1, keepdims=True) - low) * 3).round() @ np.array([16, 4, 1])
    counts = np.sort(np.unique(hues, return_counts=True)[1])
    return bool(counts[-2:].sum() >= 0.7 * len(strong))


def _grey_below_marks(pixels: NDArray[np.float32], coloured: NDArray[np.bool_]) -> FoundColour:
    """Return grey with the channel in which coloured marks differ least from the picture."""
    usual = np.median(pixels[~coloured], axis=0)
    number = int(np.abs(pixels[coloured] - usual).mean(axis=0).argmin())
    why = (
        f"Grey with coloured marks such as a scale bar ({100 * coloured.mean():.2g} % of the picture): the "
        f"{COLOURS[number]} channel is used, in which they show least."
    )
    return FoundColour("grey", (number,), (), why)


def _follows(channel: NDArray[Any], strongest: NDArray[Any], most: float) -> bool:
    """Tell whether a channel is another one times a factor, except in few pixels and where that one is saturated."""
    top = max(float(_tops(strongest)), float(_tops(channel)))
    lit = np.maximum(channel, strongest) > _LIT * top
    full = strongest >= 0.97 * strongest.max()
    if np.count_nonzero(full & lit) > 0.1 * np.count_nonzero(lit):
        # Squares at the edge of saturated regions contain saturated pixels.
        full = strongest >= 0.5 * strongest.max()
    below = lit & (~full | (channel > strongest))
    if np.count_nonzero(below) < 9:
        below = lit
    used = below & (strongest > 0)
    factor = float(np.median(channel[used] / strongest[used])) if used.any() else 0.0
    off = np.abs(channel - factor * strongest) > most
    return bool(np.count_nonzero(off & below) <= _FEW * np.count_nonzero(lit))


_NAMES = {
    (1, 0, 0): "red",
    (0, 1, 0): "green",
    (0, 0, 1): "blue",
    (1, 1, 0): "yellow",
    (1, 0, 1): "magenta",
    (0, 1, 1): "cyan",
}


def _name(shares: NDArray[Any]) -> str:
    """Return the name of a colour from its shares of red, green and blue, where the greatest share is 1."""
    red, green, blue = np.clip(shares, 0, 1)
    if red > 0.8 and 0.25 < green < 0.75 and blue < 0.35:
        return "orange"
    pale = f"pale {COLOURS[int(np.argmax(shares))]}"
    return _NAMES.get((int(red > 0.5), int(green > 0.5), int(blue > 0.5)), pale)


def _in_words(dye: Dye) -> str:
    channel = COLOURS[dye.channel]
    return dye.name if dye.name == channel else f"{dye.name} (the {channel} channel)"


def _listed(dyes: Sequence[Dye]) -> str:
    names = [dye.name for dye in dyes]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))

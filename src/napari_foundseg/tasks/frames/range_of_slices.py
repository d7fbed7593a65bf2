"""Ways of objects: the axis along which they are followed, the range of slices, and the prompts in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from napari_foundseg.core.errors import AxesError, PromptError, SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.prompts import Prompt

__all__ = ["Way", "chosen_axis", "ways_of"]

#: Share of the smaller of two masks in the other above which both mark the same place.
_ONE_PLACE = 0.5


@dataclass(frozen=True, eq=False)
class Way:
    """Slices through which objects are followed: one range along one axis, at one position on all other axes.

    Parameters
    ----------
    axis : str
        The axis.
    position : int
        Position of the axis among the axes of slices.
    rest : tuple of int
        Position of the slices on the other axes.
    first, last : int
        First and last slice of the range, both included.
    prompts : mapping of int to mapping of int to list of Prompt
        Prompts in (y, x) of their slice, by object id and slice.
    """

    axis: str
    position: int
    rest: tuple[int, ...]
    first: int
    last: int
    prompts: Mapping[int, Mapping[int, list[Prompt]]]

    def index(self, at: int) -> tuple[int, ...]:
        """Return the index of a slice of the way."""
        return (*self.rest[: self.position], at, *self.rest[self.position :])


def chosen_axis(image: Image, axis: str | None) -> str:
    """Return the axis along which to follow objects: `axis`, or if that is None, the only one with several slices.

    Raises
    ------
    AxesError
        If there is no such axis, or if `axis` is None and several axes have several slices.
    """
    lengths = dict(zip(image.slice_axes, image.slice_shape, strict=True))
    several = {name: n for name, n in lengths.items() if n > 1}
    shown = ", ".join(f"{name} with {n}" for name, n in lengths.items()) or "none"
    if axis is not None:
        axis = axis.upper()
        if axis not in lengths:
            raise AxesError(f"There is no axis {axis!r} to follow objects along. Axes of slices: {shown}.")
        if axis not in several:
            raise AxesError(f"Axis {axis} has one slice, so there is nothing to follow. Use the task prompt.")
        return axis
    if not several:
        raise AxesError(f"The image has no slices to follow objects through (axes of slices: {shown}). Use prompt.")
    if len(several) > 1:
        choices = " or ".join(f"axis={name!r}" for name in several)
        raise AxesError(
            f"The image has several axes of slices ({shown}). Give {choices}: Z follows objects through the slices of "
            "one time point, T through time at one slice."
        )
    return next(iter(several))


def ways_of(
    image: Image, prompts: Mapping[int, Sequence[Prompt]], axis: str | None, first: int | None, last: int | None
) -> list[Way]:
    """Return the ways of all objects; objects at one position on the other axes share a way.

    Raises
    ------
    FoundsegError
        If axis, range or a prompt do not fit the image or each other.
    """
    chosen = chosen_axis(image, axis)
    position = image.slice_axes.index(chosen)
    length = image.slice_shape[position]
    start, stop = _range(chosen, length, first, last)
    ways: dict[tuple[int, ...], dict[int, dict[int, list[Prompt]]]] = {}
    for label, some in prompts.items():
        places = set()
        for prompt in some:
            index, flat = prompt.in_plane(image.shape, image.label_axes)
            at = index[position]
            rest = (*index[:position], *index[position + 1 :])
            if not start <= at <= stop:
                raise PromptError(
                    f"The prompt of object {label} is in slice {at} of {chosen}, outside the range {start} to {stop}. "
                    "Widen the range, or move the prompt."
                )
            places.add(rest)
            ways.setdefault(rest, {}).setdefault(label, {}).setdefault(at, []).append(flat)
        if len(places) > 1:
            others = image.slice_axes.replace(chosen, "")
            raise PromptError(
                f"Object {label} has prompts at {len(places)} places of {others}, but is followed along {chosen} only. "
                "Give the prompts of each place an id of their own."
            )
    for marked in ways.values():
        _check_places(chosen, marked)
    return [Way(chosen, position, rest, start, stop, marked) for rest, marked in ways.items()]


def _range(axis: str, length: int, first: int | None, last: int | None) -> tuple[int, int]:
    start = 0 if first is None else first
    stop = length - 1 if last is None else last
    if not 0 <= start <= stop < length:
        raise SettingsError(
            f"The range {start} to {stop} does not fit axis {axis} with slices 0 to {length - 1}: first and last are "
            "both included, and first is not after last."
        )
    return start, stop


def _check_places(axis: str, marked: Mapping[int, Mapping[int, Sequence[Prompt]]]) -> None:
    """Raise PromptError if two objects are marked in the same place of a slice."""
    for a, b in combinations(marked, 2):
        for at in marked[a].keys() & marked[b].keys():
            if any(_same_place(one, other) for one in marked[a][at] for other in marked[b][at]):
                raise PromptError(
                    f"Objects {a} and {b} are marked in one place of slice {at} of {axis}. Remove one of the prompts, "
                    "or give both the same id."
                )


def _same_place(a: Prompt, b: Prompt) -> bool:
    if a.mask is not None and b.mask is not None:
        shared = np.count_nonzero(a.mask & b.mask)
        return bool(shared > _ONE_PLACE * min(np.count_nonzero(a.mask), np.count_nonzero(b.mask)))
    if a.box is not None and b.box is not None and a.box == b.box:
        return True
    return not _on_it(a).isdisjoint(_on_it(b))


def _on_it(prompt: Prompt) -> set[tuple[int, int]]:
    return {
        (round(y), round(x)) for (y, x), label in zip(prompt.points, prompt.labels or (), strict=True) if label == 1
    }

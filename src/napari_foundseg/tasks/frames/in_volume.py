"""Objects that a model finds in the whole volume at once, from prompts in any of its slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import AxesError, BadImageError, Cancelled, SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask
from napari_foundseg.models.kept_models import device_memory
from napari_foundseg.models.protocols.volumes import PromptableVolume, Server, VolumePrompt
from napari_foundseg.tasks.frames.following import Part, put_all
from napari_foundseg.tasks.frames.found import Found
from napari_foundseg.tasks.frames.marks import given_mask, kept
from napari_foundseg.tasks.frames.range_of_slices import Way

if TYPE_CHECKING:
    from napari_foundseg.core.prompts import Prompt

__all__ = ["Painted", "VolumeRun", "find_in_volume"]

#: Meaning of painted slices: the whole object there, or strokes on it.
Painted = Literal["the object", "strokes"]
#: Bytes for each voxel in this process: its grey value, its place in the mask, and a copy to send to a server.
_BYTES = 9
#: Logit of all voxels of a mask; drawings of the user have a higher one.
_SURE = 10.0


class VolumeRun:
    """Result of a run in a volume.

    Parameters
    ----------
    found : dict
        Objects in each slice, by id.
    unreadable : dict
        Reasons why slices could not be read, by slice.
    said : str
        Description of the model and of where it ran.
    """

    def __init__(self) -> None:
        self.found: dict[int, dict[int, Found]] = {}
        self.unreadable: dict[int, str] = {}
        self.said = ""


def find_in_volume(
    image: Image,
    model: PromptableVolume,
    way: Way,
    server: Server | None,
    painted: Painted,
    poll: Callable[[], None],
    emit: Callable[[Part], None],
) -> VolumeRun:
    """Find the objects of a way, one after the other; contested pixels go to the earlier object."""
    if way.axis == "T":
        raise AxesError(
            f"{model.name} sees volumes, and T is time: it cannot follow objects along it. Choose axis Z, or another "
            "model."
        )
    run = VolumeRun()
    volume = _read(image, way, poll, run.unreadable)
    spacing = tuple(float(image.spacing.get(axis, 1.0)) for axis in (way.axis, "Y", "X"))
    session = model.begin(volume, spacing, server, poll)  # type: ignore[arg-type] # three numbers
    run.said = model.describe(session)
    for number, (label, slices) in enumerate(way.prompts.items()):
        poll()
        if number:
            model.reset(session, poll)
        mask = np.zeros(volume.shape, bool)
        for at in sorted(slices):
            for prompt in _volume_prompts(slices[at], at - way.first, painted):
                changed = model.add(session, prompt, poll)
                if changed is not None:
                    z0, y0, x0, z1, y1, x1 = changed.box
                    mask[z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1] = changed.mask
        for at, one in _slices(image, way, mask, label, painted):
            if at not in run.unreadable:
                put_all(run.found, at, {label: one}, emit)
    return run


def _read(image: Image, way: Way, poll: Callable[[], None], unreadable: dict[int, str]) -> NDArray[np.float32]:
    """Return the grey values of the range as in the file, (Z, M, N); unreadable slices repeat the slice before."""
    shape = (way.last - way.first + 1, *image.plane_shape)
    needed = _BYTES * int(np.prod(shape))
    _, free = device_memory("cpu")
    if needed > free:
        raise SettingsError(
            f"{shape[0]} slices of {shape[1]} x {shape[2]} pixels need {needed / 1e9:.1f} GB of memory at once, and "
            f"{free / 1e9:.1f} GB are free. Choose a smaller range of slices, or a coarser level."
        )
    volume = np.zeros(shape, np.float32)
    for at in range(way.first, way.last + 1):
        poll()
        try:
            plane = np.asarray(image.raw(way.index(at)), np.float32)
        except Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a lazy array raises
            unreadable[at] = f"{type(error).__name__}: {error!s:.200}"
            plane = volume[max(0, at - 1 - way.first)]
        plane = plane.mean(axis=2) if plane.ndim == 3 else plane
        volume[at - way.first] = np.nan_to_num(plane)
    if len(unreadable) == shape[0]:
        raise BadImageError(image.source, f"no slice can be read ({next(iter(unreadable.values()))})")
    return volume


def _volume_prompts(prompts: list[Prompt], at: int, painted: Painted) -> Iterator[VolumePrompt]:
    """Yield the prompts of one slice as prompts of the volume; points come last, since they correct boxes and masks."""
    for prompt in prompts:
        if prompt.box is not None:
            y0, x0, y1, x1 = (round(v) for v in prompt.box)
            yield VolumePrompt("box in a slice", (at, y0, x0, at, y1, x1))
        if prompt.mask is not None:
            only = Mask.from_array(prompt.mask)
            y0, x0, y1, x1 = only.box
            kind: Literal["scribble", "mask"] = "scribble" if painted == "strokes" else "mask"
            yield VolumePrompt(kind, (at, y0, x0, at, y1, x1), only.crop[None])
        for (y, x), label in zip(prompt.points, prompt.labels or (), strict=True):
            place = at, round(y), round(x)
            yield VolumePrompt("point", (*place, *place), positive=label == 1)


def _slices(
    image: Image, way: Way, mask: NDArray[np.bool_], label: int, painted: Painted
) -> Iterator[tuple[int, Found]]:
    """Yield an object in each of its slices; slices that the user has drawn stay as they are."""
    drawn = {
        at: given
        for at, prompts in way.prompts[label].items()
        if painted == "the object" and (given := given_mask(prompts)) is not None
    }
    there = set((way.first + np.flatnonzero(mask.any((1, 2)))).tolist()) | set(drawn)
    for at in sorted(there):
        index = way.index(at)
        if at in drawn:
            yield at, kept(image, index, drawn[at])
            continue
        one = Mask.from_array(mask[at - way.first], index=index)
        yield at, replace(Found.nothing(index), mask=one, logits=np.full(one.crop.shape, _SURE, np.float16))

"""Axes, spacing and channel names from the file of a layer that napari's own reader opened without them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Layer

from napari_foundseg.core.errors import AxesError, BadImageError, FoundsegError
from napari_foundseg.io.formats.table import image_ending
from napari_foundseg.io.formats.units import is_known_unit
from napari_foundseg.io.image_facts import ImageFacts, read_facts
from napari_foundseg.io.image_layers import CHANNEL_NAMES
from napari_foundseg.widgets.layers.camera import find_camera
from napari_foundseg.widgets.layers.layer_axes import layer_axes, layer_units

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = [
    "PATIENCE",
    "AppliedFacts",
    "applied_facts",
    "apply_facts",
    "ask_facts",
    "notes_of_file",
    "settle_facts",
    "undo_facts",
]

#: Seconds to wait for a file when the user has pressed a button.
PATIENCE = 20.0
#: napari's own reader, which drops axes and spacing. Layers of other readers are left as they are.
_BUILTIN = ("napari", "builtins")
#: Labels that napari gives to unnamed axes.
_UNNAMED = re.compile(r"(axis )?-\d+")

_thread = ThreadPoolExecutor(1, thread_name_prefix="foundseg-facts")
_asked: WeakKeyDictionary[Layer, Future[ImageFacts]] = WeakKeyDictionary()
#: The changes of each layer; None if there was nothing to change, or the user has undone the changes.
_applied: WeakKeyDictionary[Layer, AppliedFacts | None] = WeakKeyDictionary()
#: Notes of our reader about the file of each layer.
_notes: WeakKeyDictionary[Layer, tuple[str, ...]] = WeakKeyDictionary()


@dataclass(frozen=True)
class AppliedFacts:
    """The changes that were made to a layer from its file.

    Parameters
    ----------
    words : str
        A description, such as ``axes TCYX, 0.5 × 0.5 µm``.
    before : tuple of (Layer, dict)
        Each changed layer, with its earlier attributes.
    """

    words: str
    before: tuple[tuple[Layer, dict[str, Any]], ...]


def ask_facts(layer: ImageLayer) -> Future[ImageFacts] | None:
    """Read the file of a layer in a background thread; return None if there is nothing to read or apply."""
    path = layer.source.path
    if layer in _applied or path is None or layer.source.reader_plugin not in _BUILTIN:
        return None
    if layer not in _asked:
        _asked[layer] = _thread.submit(read_facts, Path(path))
    return _asked[layer]


def settle_facts(viewer: ViewerModel, layer: ImageLayer, seconds: float = PATIENCE) -> None:
    """Wait for the file of a layer, and apply its axes and spacing to the layer.

    Raises
    ------
    AxesError
        If reading takes longer than `seconds`.
    """
    asked = ask_facts(layer)
    if asked is None:
        return
    try:
        facts = asked.result(seconds)
    except TimeoutError as error:
        raise AxesError(
            f"The axes of {layer.name!r} are still being read from its file. Try again in a moment."
        ) from error
    except FoundsegError as error:
        # napari has read the file in a different way, and the layer shows the result of that.
        _applied[layer] = None
        if isinstance(error, BadImageError) and image_ending(Path(str(layer.source.path)).name):
            _notes[layer] = (f"it is refused, {error.reason}",)
        return
    apply_facts(viewer, layer, facts)


def applied_facts(layer: Layer | None) -> AppliedFacts | None:
    """Return the changes that were made to a layer from its file; None if there were none."""
    return None if layer is None else _applied.get(layer)


def notes_of_file(layer: Layer | None) -> tuple[str, ...]:
    """Return the notes of our reader about a file that napari's reader opened.

    They name the parts that our reader chose, left out or did not apply.
    """
    return () if layer is None else _notes.get(layer, ())


def apply_facts(viewer: ViewerModel, layer: ImageLayer, facts: ImageFacts) -> AppliedFacts | None:
    """Apply the axes, spacing, units and channel names of a file to its layer, once.

    Axis names that are already set are kept, and layers that were scaled or moved are not scaled. Layers that match
    this one pixel by pixel, such as labels and points, are scaled with it.
    """
    if layer in _applied:
        return _applied[layer]
    _applied[layer] = None
    _notes[layer] = facts.notes
    letters = _letters(layer, facts)
    if letters is None:
        return None
    words = []
    before: dict[Layer, dict[str, Any]] = {}
    says = any(facts.spacing.get(axis, 1) != 1 or axis in facts.units for axis in letters)
    sized = [axis for axis in letters if axis in facts.spacing] if says and _is_plain(layer) else []
    names = facts.channel_names if "C" in letters and CHANNEL_NAMES not in layer.metadata else ()
    unnamed = all(_UNNAMED.fullmatch(str(label)) for label in layer.axis_labels)
    if unnamed and (letters != layer_axes(layer)[: layer.ndim] or names or sized):
        before[layer] = {"axis_labels": layer.axis_labels, "metadata": layer.metadata}
        # Set the names first, because handlers of the axes event read them.
        layer.metadata = {**layer.metadata, CHANNEL_NAMES: list(names)} if names else layer.metadata
        layer.axis_labels = [letter.lower() for letter in letters]
        words.append(f"axes {letters}")
    if sized:
        scale = [facts.spacing.get(axis, 1.0) for axis in letters]
        units = [unit if is_known_unit(unit := facts.units.get(axis, "pixel")) else "pixel" for axis in letters]
        with _view_kept(viewer, layer):
            for other in [layer, *_companions(viewer, layer)]:
                before.setdefault(other, {})
                before[other] |= {"scale": np.array(other.scale), "units": other.units}
                _set_scale(other, scale, units)
        words.append(_sizes(facts, sized))
    if before:
        _applied[layer] = AppliedFacts(", ".join(words), tuple(before.items()))
    return _applied[layer]


def undo_facts(viewer: ViewerModel, layer: ImageLayer) -> None:
    """Undo the changes that were made to a layer from its file; they are not applied again."""
    applied = _applied.get(layer)
    _applied[layer] = None
    if applied is None:
        return
    with _view_kept(viewer, layer):
        for other, attributes in applied.before:
            for name, value in attributes.items():
                setattr(other, name, value)


def _letters(layer: ImageLayer, facts: ImageFacts) -> str | None:
    """Return a letter for each axis of a layer; None if the pixels of the file and the layer differ."""
    data = layer.data[0] if layer.multiscale else layer.data
    shape = tuple(int(n) for n in data.shape)
    dtype = np.dtype(data.dtype)
    if (dtype.kind, dtype.itemsize) != (facts.dtype.kind, facts.dtype.itemsize):
        return None
    if shape == facts.shape:
        # The colours of an RGB layer are not an axis of the layer.
        return facts.axes[: layer.ndim] if layer.rgb == facts.axes.endswith("C") or not layer.rgb else None
    if layer.rgb or [n for n in shape if n > 1] != [n for n in facts.shape if n > 1]:
        return None
    # The layer has axes of length 1 that our reader leaves out.
    long = iter([axis for axis, n in zip(facts.axes, facts.shape, strict=True) if n > 1])
    letters = [next(long) if n > 1 else "" for n in shape]
    if shape[-1] == 1 and "C" not in letters:
        letters[-1] = "C"  # one channel at the end, not rows of one pixel
    free = [axis for axis in "QTCZYX"[-len(shape) :] if axis not in letters]
    placed = "".join(letter or free.pop(0) for letter in letters)
    return placed if {"Y", "X"} <= set(placed) else None


def _is_plain(layer: Layer) -> bool:
    """Tell whether a layer has no scale, translation, rotation or units, so that its pixels are world units."""
    return (
        bool(np.allclose(layer.scale, 1))
        and bool(np.allclose(layer.translate, 0))
        and bool(np.allclose(layer.rotate, np.eye(layer.ndim)))
        and bool(np.allclose(layer.affine.affine_matrix, np.eye(layer.ndim + 1)))
        and all(str(unit) in ("", "pixel", "px") for unit in layer_units(layer))
    )


def _companions(viewer: ViewerModel, layer: ImageLayer) -> list[Layer]:
    """Return the other layers that match a layer pixel by pixel.

    Images of another size are left out, because their scale may differ.
    """
    plane = _plane(layer)
    return [
        other
        for other in viewer.layers
        if other is not layer and _is_plain(other) and (not isinstance(other, ImageLayer) or _plane(other) == plane)
    ]


def _plane(layer: ImageLayer) -> tuple[int, ...]:
    data = layer.data[0] if layer.multiscale else layer.data
    return tuple(int(n) for n in data.shape[: layer.ndim][-2:])


def _set_scale(layer: Layer, scale: Sequence[float], units: Sequence[str]) -> None:
    """Set the scale of a layer, matching the last axes as napari does."""
    extra = max(0, layer.ndim - len(scale))
    layer.units = [*["pixel"] * extra, *units[-layer.ndim :]]
    layer.scale = [*[1.0] * extra, *scale[-layer.ndim :]]


@contextmanager
def _view_kept(viewer: ViewerModel, layer: Layer) -> Iterator[None]:
    """Keep the same slice and region in view while the scale of a layer changes."""
    dims = viewer.dims
    camera = find_camera(viewer)
    steps = layer.world_to_data(dims.point)
    shown = list(dims.displayed)
    inside = [axis - (dims.ndim - layer.ndim) for axis in shown]
    centre = np.array(dims.point, float)
    centre[shown] = np.asarray(camera.center, float)[-len(shown) :]
    at = np.array(layer.world_to_data(centre), float)
    old = np.array(layer.scale, float)
    yield
    place = layer.data_to_world(steps)
    for axis, value in enumerate(place):
        dims.set_point(axis + dims.ndim - layer.ndim, float(value))
    if min(inside) < 0:
        return
    world = np.array(layer.data_to_world(at), float)
    camera.center = tuple(world[axis] for axis in inside)
    camera.zoom /= float(layer.scale[inside[-1]] / old[inside[-1]])


def _sizes(facts: ImageFacts, axes: Sequence[str]) -> str:
    """Describe the size of a pixel, such as ``3 × 0.7 × 0.7 mm``."""
    units = [facts.units.get(axis, "pixel") for axis in axes]
    sizes = [f"{facts.spacing[axis]:.4g}" for axis in axes]
    if len(set(units)) == 1:
        return f"{' × '.join(sizes)} {units[0]}"  # noqa: RUF001 - times
    return " × ".join(f"{size} {unit}" for size, unit in zip(sizes, units, strict=True))  # noqa: RUF001

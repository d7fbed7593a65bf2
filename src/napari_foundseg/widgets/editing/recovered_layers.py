"""Recovered labels as layers: placed over their image if it is open, and kept in a new journal."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels

from napari_foundseg.widgets.editing.image_objects import assign_objects, assigned_objects
from napari_foundseg.widgets.editing.labels_history import shared_history
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_conversion import image_from_layer
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.object_features import facts_to_features
from napari_foundseg.widgets.layers.unique_name import unique_name

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.io.journal import Header, Kept, Recovered

__all__ = ["add_preview", "add_recovered"]


@dataclass(frozen=True, eq=False)
class _Match:
    """An open image to which unsaved work belongs; `same` if its pixels have not changed since."""

    target: ImageOnLayer
    same: bool


def add_preview(viewer: ViewerModel, found: Recovered) -> Labels:
    """Add a layer that shows recovered labels and cannot be edited."""
    name = unique_name(viewer.layers, "foundseg recovery (preview)")
    layer = _layer(found, name, _find_match(viewer, found.header))
    layer.metadata = {TOOL: True}
    layer.editable = False
    viewer.add_layer(layer)
    return layer


def add_recovered(viewer: ViewerModel, found: Recovered, kept: Kept) -> tuple[Labels, ImageOnLayer | None, str]:
    """Add recovered labels to the viewer, and keep them in a new journal.

    Returns
    -------
    Labels
        The layer with the recovered labels.
    ImageOnLayer or None
        The image to which the labels belong, if it is open and its pixels have not changed since.
    str
        A message for the user, or empty.
    """
    match = _find_match(viewer, found.header)
    target = None if match is None else match.target
    before = None if target is None else assigned_objects(target.layer)
    image = target.image if match is not None and match.same and target is not None else None
    if before is not None and before in viewer.layers and _takes(before, found):
        history = shared_history(before, image, add_recovered)
        history.write("recover", [(tuple(slice(0, n) for n in found.labels.shape), found.labels)], found.known)
    else:
        active = viewer.layers.selection.active
        layer = _layer(found, unique_name(viewer.layers, found.header.layer), match)
        viewer.add_layer(layer)
        if active is not None:
            # The tool in use stays active.
            viewer.layers.selection.active = active
        history = shared_history(layer, image, add_recovered)
        layer_file(layer).note_work()
        if target is not None and image is not None:
            assign_objects(target.layer, layer)
    history.journal.replace(kept.path)
    history.journal.open()
    history.leave(add_recovered)
    words = _about_image(found.header, history.layer.name, match)
    if kept.lost_steps:
        words += (
            f" {history.layer.name!r} lacks {_steps(kept.lost_steps)} of {kept.steps + kept.lost_steps}, which "
            "damage to the file has cost."
        )
    return history.layer, target if image is not None else None, words.strip()


def _find_match(viewer: ViewerModel, header: Header) -> _Match | None:
    """Return the open image to which unsaved work belongs: one with the same pixels, else one from the same file."""
    from_file = None
    for layer in viewer.layers:
        if type(layer) is not ImageLayer or TOOL in layer.metadata:
            continue
        with suppress(Exception):  # an image that cannot be read does not match
            target = ImageOnLayer(layer, image_from_layer(layer))
            if tuple(target.overlay.shape) != header.shape:
                continue
            if header.image in (target.image.identity(), target.image.fingerprint()):
                return _Match(target, True)
            if header.source is not None and target.image.source == header.source:
                from_file = _Match(target, False)
    return from_file


def _layer(found: Recovered, name: str, match: _Match | None) -> Labels:
    """Return a layer of recovered labels, placed over their image if it is open."""
    place = dict(found.header.place) if match is None else match.target.overlay.transforms
    return Labels(found.labels, name=name, features=facts_to_features(found.known), **place)


def _takes(layer: Labels, found: Recovered) -> bool:
    """Tell whether to write recovered labels into an existing layer: it is empty or has the recovered layer's name."""
    if layer.data.shape != found.labels.shape or not isinstance(layer.data, np.ndarray):
        return False
    return layer.name == found.header.layer or not layer.data.any()


def _about_image(header: Header, layer: str, match: _Match | None) -> str:
    """Return a message about the image of recovered labels; empty if the image is open and unchanged."""
    if match is not None and match.same:
        return ""
    if match is not None:
        return f"{layer!r} was recovered. {match.target.name!r} has other pixels or channels now than the objects had."
    if header.source is None:
        return f"{layer!r} was recovered. Its image is not open." if header.image else ""
    there = "is not open" if Path(header.source).exists() else "is not where it was"
    return f"{layer!r} was recovered. Its image {header.source!r} {there}."


def _steps(number: int) -> str:
    return "1 step" if number == 1 else f"{number} steps"

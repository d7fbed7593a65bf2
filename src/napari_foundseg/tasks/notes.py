"""Notes of a result: what was chosen for the user, what was done to the contrast, and why nothing was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation

__all__ = ["notes_of", "what_was_chosen", "with_notes"]

#: Keys of the provenance: what a task says of a result, sentences about the contrast, and why nothing was found.
_NOTES = "notes"
_CONTRAST = "contrast_notes"
_NOTHING = "nothing_found"
#: Grey value, of 255, above which the background of a picture is bright.
_BRIGHT = 150
#: Mean expected quality of objects below which a result is uncertain.
_UNCERTAIN = 0.4


def notes_of(provenance: Mapping[str, Any]) -> list[str]:
    """Return what is to be looked at in a result, a sentence or two each; empty where nothing is odd."""
    hidden = provenance.get("image", {}).get("colour", {}).get("hidden", "")
    slices = provenance.get("propagation", {}).get("notes", ())
    told = [sentence for key in (_NOTES, _CONTRAST, _NOTHING) for sentence in provenance.get(key, ())]
    return [*([hidden] if hidden else []), *slices, *told]


def what_was_chosen(provenance: Mapping[str, Any]) -> list[str]:
    """Return why one channel of an RGB image was used, and how slices became objects, a sentence or two each."""
    colour = provenance.get("image", {}).get("colour")
    used = [str(colour["why"])] if colour and len(colour["channels"]) == 1 else []
    return [*used, *_linking_in_words(provenance.get("linking", {}))]


def _linking_in_words(linking: Mapping[str, Any]) -> list[str]:
    if linking.get("how") == "3d":
        return [f"Objects in 3-D: a watershed in the whole volume, from {', '.join(linking['planes'])} planes."]
    if linking.get("why"):
        return [f"Objects in 3-D: slices linked by overlap, since {linking['why']}."]
    return []


def with_notes(found: Segmentation, image: Image, *, finds_objects: bool) -> Segmentation:
    """Return a result whose provenance says what is odd about the contrast and, without objects, why there are none.

    `finds_objects`: whether the task is one whose result should have some.
    """
    nothing = finds_objects and not len(found)
    doubts = image.doubts if nothing else image.known_doubts
    contrast = [doubts] if doubts else []
    reasons = _of_picture(image, found) if nothing else []
    if not contrast and not reasons:
        return found
    told = {_CONTRAST: contrast, _NOTHING: [*found.provenance.get(_NOTHING, ()), *reasons]}
    return replace(found, provenance={**found.provenance, **{name: words for name, words in told.items() if words}})


def _of_picture(image: Image, found: Segmentation) -> list[str]:
    """Say what of the picture may be why nothing was found."""
    reasons = [image.suspicion] if image.suspicion else []
    if image.doubts:
        return reasons
    index = found.provenance.get("inputs", {}).get("index")
    index = tuple(n // 2 for n in image.slice_shape) if index is None else tuple(index)
    middle = float(np.median(image.rgb(index)))
    if middle > _BRIGHT:
        reasons.append(
            f"The background is bright (median {middle:.0f} of 255). If the model knows bright objects on a dark "
            "background, as in fluorescence, invert the image."
        )
    return reasons

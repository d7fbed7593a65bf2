"""Notes of a result: choices made for the user, doubts about the contrast, and reasons why nothing was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_foundseg.core.image import Image
from napari_foundseg.core.pixels.slab import Slab, usual_slab_in_words
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.abilities import NO_GPU
from napari_foundseg.tasks.tracks.tracks_in_words import tracking_in_words

__all__ = ["notes_of", "what_was_chosen", "with_notes"]

#: Keys of the provenance: notes of the task, sentences about the contrast, and reasons why nothing was found.
_NOTES = "notes"
_CONTRAST = "contrast_notes"
_NOTHING = "nothing_found"
#: Median grey value, of 255, above which the background of a picture counts as bright.
_BRIGHT = 150
#: Expected quality of objects below which a result is uncertain.
_UNCERTAIN = 0.4


def notes_of(provenance: Mapping[str, Any]) -> list[str]:
    """Return notes on a result that the user should check, a sentence or two each; empty if nothing is odd."""
    hidden = provenance.get("image", {}).get("colour", {}).get("hidden", "")
    slices = provenance.get("propagation", {}).get("notes", ())
    told = [sentence for key in (_NOTES, _CONTRAST, _NOTHING) for sentence in provenance.get(key, ())]
    if covered := provenance.get("covered"):
        told.append(f"Masks that are left out, since their pixels belong to better ones: {covered}.")
    size = provenance.get("size", {})
    doubts = [*_other_sizes(size), *([] if provenance.get(_NOTHING) else _uncertainty(size))]
    return [*([hidden] if hidden else []), *slices, *told, *doubts]


def what_was_chosen(provenance: Mapping[str, Any]) -> list[str]:
    """Return the fallbacks of a run and the choices made for the user, a sentence or two each.

    First come the fallbacks that the provenance records, such as smaller batches. Then come the channel, smoothing or
    sharpening, how slices became objects, and the views.
    """
    colour = provenance.get("image", {}).get("colour")
    used = [str(colour["why"])] if colour and len(colour["channels"]) == 1 else []
    smoothing = provenance.get("size", {}).get("smoothing", 0.0)
    smoothed = f"The image is noisy: the model saw it smoothed (Gaussian filter of {smoothing:.2g} pixels)."
    sharpening = provenance.get("size", {}).get("sharpening", 0.0)
    sharpened = f"The image is blurred: the model saw it sharpened (unsharp mask of amount {sharpening:.2g})."
    seen = [*([smoothed] if smoothing else []), *([sharpened] if sharpening else [])]
    seen += _slab_in_words(provenance.get("image", {}))
    chosen = [*used, *seen, *_slices_in_words(provenance), *_views_in_words(provenance.get("views", ()))]
    return [*_fallbacks_in_words(provenance.get("fallbacks", ())), *chosen]


def _fallbacks_in_words(fallbacks: Sequence[str]) -> list[str]:
    """Return the recorded fallbacks as sentences, each once, without the one that every run without a GPU has."""
    told = dict.fromkeys(words for words in fallbacks if words != NO_GPU)
    return [f"{words[:1].upper()}{words[1:].rstrip('.')}." for words in told]


def _slab_in_words(image: Mapping[str, Any]) -> list[str]:
    """Return a sentence that says from which slices the projections were made that the model saw, if any."""
    if "slab" not in image:
        return []
    slab = Slab.model_validate(image["slab"])
    words = usual_slab_in_words(slab, dict(zip(image["axes"], image["shape"], strict=True)))
    return [f"The model saw projections. {words}."] if words else []


def _slices_in_words(provenance: Mapping[str, Any]) -> list[str]:
    """Return sentences on how slices became objects and how frames became tracks."""
    linking = _linking_in_words(provenance.get("linking", {}))
    return [*linking, *tracking_in_words(provenance.get("tracking", {}))]


def _linking_in_words(linking: Mapping[str, Any]) -> list[str]:
    if linking.get("how") == "3d":
        return [f"Objects in 3-D: a watershed in the whole volume, from {', '.join(linking['planes'])} planes."]
    if linking.get("why"):
        return [f"Objects in 3-D: slices linked by overlap, since {linking['why']}."]
    return []


def _views_in_words(views: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each view that a model recognised in slices, with the classes that it can show."""
    told = []
    for name in dict.fromkeys(view["name"] for view in views):
        own = [view for view in views if view["name"] == name]
        where = f" in {len(own)} of {len(views)} slices" if len(views) > 1 else ""
        least = min(view["score"] for view in own)
        told.append(f"View{where}: {name} (probability {least:.2f}), whose classes are {', '.join(own[0]['classes'])}.")
    return told


def _other_sizes(size: Mapping[str, Any]) -> list[str]:
    """Warn that objects of some slices, or of an image of a batch, are far from the size found on a sample."""
    if not size.get("apart"):
        return []
    scale = size["scale"]
    seen = f"seen at {100 * scale:.3g} % of its size" if scale != 1 else "seen at its own size"
    if size["how"] == "found":
        slices = f"{size['apart']} slices" if size["apart"] > 1 else "1 slice"
        sampled, choice = f"In {slices} objects seem to be", "each slice"
    else:
        sampled, choice = "Objects seem to be", "each image"
    words = (
        f"{sampled} far larger or smaller than those of the sample that has given the diameter (about "
        f"{size['apart_diameter']:.3g} pixels; the image was {seen}). If they are missing or in pieces, set 'Automatic "
        f"diameter' to {choice}, or give the diameter."
    )
    return [words]


def _uncertainty(size: Mapping[str, Any]) -> list[str]:
    """Warn that a model expects a low quality of the objects of a run, and suggest remedies."""
    quality = size.get("expected_quality")
    if quality is None or quality >= _UNCERTAIN:
        return []
    diameter = f" (found: {size['diameter']:.3g} pixels)" if size.get("diameter") else ""
    words = (
        f"Uncertain: the model expects a quality of {quality:.2g} of 1. It may help to set the diameter of the "
        f"objects{diameter}, to choose another channel, to invert the image if its objects are dark, or to choose a "
        "model for such images."
    )
    return [words]


def with_notes(found: Segmentation, image: Image, *, finds_objects: bool) -> Segmentation:
    """Return a result whose provenance has doubts about the contrast and, without objects, reasons why there are none.

    `finds_objects` is whether the result of the task should have objects.
    """
    # A result with boxes but no objects still waits for its masks.
    nothing = finds_objects and not len(found) and not found.provenance.get("boxes")
    doubts = image.doubts if nothing else image.known_doubts
    contrast = [doubts] if doubts else []
    reasons = _of_picture(image, found) if nothing else []
    if not contrast and not reasons:
        return found
    told = {_CONTRAST: contrast, _NOTHING: [*found.provenance.get(_NOTHING, ()), *reasons]}
    return replace(found, provenance={**found.provenance, **{name: words for name, words in told.items() if words}})


def _of_picture(image: Image, found: Segmentation) -> list[str]:
    """Return reasons in the picture why nothing may have been found."""
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

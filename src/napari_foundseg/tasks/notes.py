"""Notes of a result: what was chosen for the user, what was done to the contrast, and why nothing was found."""

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
    if covered := provenance.get("covered"):
        told.append(f"Masks that are left out, since their pixels belong to better ones: {covered}.")
    size = provenance.get("size", {})
    doubts = [*_other_sizes(size), *([] if provenance.get(_NOTHING) else _uncertainty(size))]
    return [*([hidden] if hidden else []), *slices, *told, *doubts]


def what_was_chosen(provenance: Mapping[str, Any]) -> list[str]:
    """Return what was used in place of something else, and what was chosen for the user; a sentence or two each.

    First the fallbacks that the provenance records, such as smaller batches; then the channel, what was smoothed or
    sharpened, how slices became objects, and their views.
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
    """Return the recorded fallbacks as sentences, each once; not that of every result of a computer without a GPU."""
    told = dict.fromkeys(words for words in fallbacks if words != NO_GPU)
    return [f"{words[:1].upper()}{words[1:].rstrip('.')}." for words in told]


def _slab_in_words(image: Mapping[str, Any]) -> list[str]:
    """Say of which slices the model saw a projection."""
    if "slab" not in image:
        return []
    slab = Slab.model_validate(image["slab"])
    words = usual_slab_in_words(slab, dict(zip(image["axes"], image["shape"], strict=True)))
    return [f"The model saw projections. {words}."] if words else []


def _slices_in_words(provenance: Mapping[str, Any]) -> list[str]:
    """Return how slices became objects, and frames tracks."""
    linking = _linking_in_words(provenance.get("linking", {}))
    return [*linking, *tracking_in_words(provenance.get("tracking", {}))]


def _linking_in_words(linking: Mapping[str, Any]) -> list[str]:
    if linking.get("how") == "3d":
        return [f"Objects in 3-D: a watershed in the whole volume, from {', '.join(linking['planes'])} planes."]
    if linking.get("why"):
        return [f"Objects in 3-D: slices linked by overlap, since {linking['why']}."]
    return []


def _views_in_words(views: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say which views a model took the slices for, and what classes these can show: one sentence a view."""
    told = []
    for name in dict.fromkeys(view["name"] for view in views):
        own = [view for view in views if view["name"] == name]
        where = f" in {len(own)} of {len(views)} slices" if len(views) > 1 else ""
        least = min(view["score"] for view in own)
        told.append(f"View{where}: {name} (probability {least:.2f}), whose classes are {', '.join(own[0]['classes'])}.")
    return told


def _other_sizes(size: Mapping[str, Any]) -> list[str]:
    """Say that objects of some slices, or of an image of a batch, are far from the size that was found on a sample."""
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
    """Say that the objects of a run are hardly those that the model knows, and what would help."""
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
    """Return a result whose provenance says what is odd about the contrast and, without objects, why there are none.

    `finds_objects`: whether the task is one whose result should have some.
    """
    # Boxes that were found are waiting for their masks.
    nothing = finds_objects and not len(found) and not found.provenance.get("boxes")
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

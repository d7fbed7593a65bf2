"""`SizedMaps` for the settings of a run, and one size for the objects of several images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from statistics import median_low
from typing import TYPE_CHECKING

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.models.catalog import row
from napari_foundseg.models.protocols.objects import InstanceDecoding
from napari_foundseg.tasks.automatic_objects import decoder_settings, instance_thresholds
from napari_foundseg.tasks.automatic_settings import diameter_in_pixels
from napari_foundseg.tasks.windows.sizes.octaves import Octave, best_octave, median_diameter
from napari_foundseg.tasks.windows.sizes.size_search import CommonSize, SizedMaps

if TYPE_CHECKING:
    from napari_foundseg.tasks.automatic_settings import DecoderSettings, PromptsSettings

__all__ = ["CommonSize", "find_common_size", "sized_maps"]


def sized_maps(
    image: Image,
    settings: DecoderSettings | PromptsSettings,
    model: InstanceDecoding,
    poll: Callable[[], None],
) -> Callable[..., SizedMaps]:
    """Return a function that makes the `SizedMaps` of an image, its slices and a region."""
    of_decoder = decoder_settings(settings)
    weights = row(model.name)
    return partial(
        SizedMaps, model=model, poll=poll, thresholds=instance_thresholds(of_decoder), tile=settings.tile,
        diameter=diameter_in_pixels(image, settings), search=settings.find_diameter, weights=weights.size_weights,
        calibration=weights.calibration, least=of_decoder.pred_iou_thresh,
    )  # fmt: skip


def find_common_size(
    images: Iterable[Image],
    settings: DecoderSettings | PromptsSettings,
    model: InstanceDecoding,
    poll: Callable[[], None],
) -> CommonSize | None:
    """Find one size for the objects of several images.

    Parameters
    ----------
    images : iterable of Image
        The images, as the model expects them.
    settings : DecoderSettings or PromptsSettings
        Settings of the run.
    model : InstanceDecoding
        The model.
    poll : callable
        Called before each window; may raise to stop.

    Returns
    -------
    CommonSize or None
        None if the run does not search for the size in octaves (`SizedMaps.searches`).
    """
    pictures: list[list[list[Octave]]] = []
    for image in images:
        height, width = image.plane_shape
        whole: Box = (0, 0, height - 1, width - 1)
        sized = sized_maps(image, settings, model, poll)(image, list(image.indices()), whole)
        if not sized.searches:
            return None
        pictures.append([[octave.without_pixels() for octave in octaves] for octaves in sized.sample_octaves()])
    seen = [picture for picture in pictures if any(len(octave.quality) for octaves in picture for octave in octaves)]
    # Each picture has one vote: a picture of unusual objects may have most of the objects.
    own = [best_octave(picture) for picture in seen]
    scale = median_low(own) if own else 1.0
    alike = [picture for picture, one in zip(seen, own, strict=True) if one == scale]
    chosen = [octave for picture in alike for octaves in picture for octave in octaves if octave.scale == scale]
    return CommonSize(scale, median_diameter(chosen))

"""Encoding in advance: slices are encoded before the first click, and cached (`tasks.windows.embeddings`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Literal

from napari_foundseg.core.errors import Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.core.painting import Painting
from napari_foundseg.core.pixels.colour import ColourRule
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.protocols.objects import Promptable
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import Region, slices
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Progress, Settings, Task
from napari_foundseg.tasks.windows.embeddings import encode_ahead

__all__ = ["TASK", "EncodeSettings"]


class EncodeSettings(Settings):
    """The windows that clicks are decoded in first."""

    colours: ClassVar[ColourRule] = "grey"
    method: Literal["encode"] = "encode"


def run(
    image: Image,
    inputs: Region,
    settings: EncodeSettings,
    model: Promptable,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Encode the windows of slices.

    The result has no objects.
    """
    started = time.perf_counter()

    def poll() -> None:
        if cancelled():
            raise Cancelled("Encoding was cancelled.")

    encode_ahead(image, model, slices(image, inputs), progress, poll)
    painting = Painting(image.shape, image.label_axes, ())
    request = RunRequest("encode", image, inputs, settings, model.name)
    provenance = record(request, model, started)
    return Segmentation(painting, painting.table(), provenance=provenance, masks=())


TASK = Task(
    name="encode",
    title="Encode in advance",
    inputs=Region,
    methods={"encode": EncodeSettings},
    protocols={"encode": "Promptable"},
    function=run,
    slices=slices,
    finds_objects=False,
)

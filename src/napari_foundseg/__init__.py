"""Segment microscopy and medical images in napari with foundation models.

Everything public is imported when it is first used: ``import napari_foundseg`` imports neither torch nor napari.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_foundseg.api import (
        automatic,
        cluster,
        find_similar,
        fit_stego,
        load_model,
        name_masks,
        panoptic,
        prompt,
        propagate,
        semantic,
        split,
        text,
    )
    from napari_foundseg.batch.object_measures import measure
    from napari_foundseg.batch.replay import replay
    from napari_foundseg.core.contrast import AsIs, CTWindow, Limits, MinMax, Percentile
    from napari_foundseg.core.errors import (
        AxesError,
        BadImageError,
        CheckpointError,
        DTypeError,
        EngineError,
        FoundsegError,
        PromptError,
    )
    from napari_foundseg.core.image import Image
    from napari_foundseg.core.pixels.slab import Slab
    from napari_foundseg.core.prompts import Prompt
    from napari_foundseg.core.pyramids import Level
    from napari_foundseg.core.result import Segmentation
    from napari_foundseg.io.readers import read_image
    from napari_foundseg.io.tracks.track_files import write_tracks
    from napari_foundseg.io.writers import write_labels
    from napari_foundseg.tasks.running import run
    from napari_foundseg.tasks.similar.examples import Example
    from napari_foundseg.tasks.tracks.track import track

__all__ = [
    "AsIs",
    "AxesError",
    "BadImageError",
    "CTWindow",
    "CheckpointError",
    "DTypeError",
    "EngineError",
    "Example",
    "FoundsegError",
    "Image",
    "Level",
    "Limits",
    "MinMax",
    "Percentile",
    "Prompt",
    "PromptError",
    "Segmentation",
    "Slab",
    "automatic",
    "cluster",
    "find_similar",
    "fit_stego",
    "load_model",
    "measure",
    "name_masks",
    "panoptic",
    "prompt",
    "propagate",
    "read_image",
    "replay",
    "run",
    "semantic",
    "split",
    "text",
    "track",
    "write_labels",
    "write_tracks",
]

_HOME = {
    "automatic": "api",
    "cluster": "api",
    "find_similar": "api",
    "fit_stego": "api",
    "load_model": "api",
    "name_masks": "api",
    "panoptic": "api",
    "prompt": "api",
    "propagate": "api",
    "semantic": "api",
    "split": "api",
    "text": "api",
    "measure": "batch.object_measures",
    "replay": "batch.replay",
    "read_image": "io.readers",
    "track": "tasks.tracks.track",
    "write_labels": "io.writers",
    "write_tracks": "io.tracks.track_files",
    "run": "engine.safe_calls",
    "AsIs": "core.contrast",
    "CTWindow": "core.contrast",
    "Limits": "core.contrast",
    "MinMax": "core.contrast",
    "Percentile": "core.contrast",
    "Example": "tasks.similar.examples",
    "Image": "core.image",
    "Level": "core.pyramids",
    "Prompt": "core.prompts",
    "Segmentation": "core.result",
    "Slab": "core.pixels.slab",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'core.errors')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

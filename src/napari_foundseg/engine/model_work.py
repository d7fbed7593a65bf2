"""Work on models in the engine's process, in parallel with runs: reading and writing their files, and timing.

Each function takes the name of a model, or a pair of the name and an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_foundseg.models.catalog import row
from napari_foundseg.models.downloads import upkeep
from napari_foundseg.models.downloads.download import download as download_weights
from napari_foundseg.models.downloads.size_text import bytes_text

if TYPE_CHECKING:
    from napari_foundseg.engine.stages import StageContext
    from napari_foundseg.models.choosing.times import ModelTimes

__all__ = ["download", "keep_token", "measure", "remove", "remove_part", "verify"]


def download(name: str, context: StageContext) -> str:
    """Download a model's weights, or continue a download; return a sentence with their path."""
    found = download_weights(row(name), context.progress, context.cancelled)
    return f"{found.title} is here: {found.file}."


def verify(name: str, context: StageContext) -> str:
    """Read all weights of a model and compare them with the recorded hash; return the outcome in words."""
    return _sentence(upkeep.verify(row(name), context.progress, context.cancelled))


def remove(name: str, _context: StageContext) -> str:
    """Remove a model; return a sentence on the deleted and the remaining files."""
    from napari_foundseg.models.loading import forget_model

    # Some systems do not delete files that are mapped into memory.
    forget_model(name)
    return _sentence(upkeep.remove(row(name)))


def remove_part(name: str, _context: StageContext) -> str:
    """Delete the part of an unfinished download; return a sentence with the number of bytes."""
    return f"The unfinished download is deleted ({bytes_text(upkeep.remove_part(row(name)), None)})."


def keep_token(order: tuple[str, str], _context: StageContext) -> str:
    """Check a token with the hub's client and store it; return a sentence with the name of its user."""
    from napari_foundseg.models.downloads import hub

    user = hub.keep_token(order[1])
    return f"The token of {user} is kept by the hub's client. Press Download."


def measure(name: str, context: StageContext) -> ModelTimes:
    """Measure a model's time on each device of this computer."""
    from napari_foundseg.tasks.side_tasks.model_timing import measure_model

    return measure_model(name, context.progress, context.cancelled)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "." * (not text.endswith("."))

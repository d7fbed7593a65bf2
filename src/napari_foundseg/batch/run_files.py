"""The files that a run reads; outputs must not replace them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import ModelNotFoundError
from napari_foundseg.io.output_paths import find_files
from napari_foundseg.models.catalog import row
from napari_foundseg.models.store import locate, weight_files

__all__ = ["files_of_models", "files_of_run"]


def files_of_run(image: str | Path, *values: Any) -> list[Path]:
    """Return the path of the image, the files in settings and inputs, and the weights of the models named there."""
    return [Path(image), *find_files(values), *files_of_models(values)]


def files_of_models(values: Any) -> Iterator[Path]:
    """Yield the weights of the models that are named in a text, or in a list or mapping of any depth."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, str):
        with suppress(ModelNotFoundError):
            if (weights := locate(row(values))) is not None:
                yield weights
                yield from weight_files(weights)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from files_of_models(value)

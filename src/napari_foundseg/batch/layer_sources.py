"""Open layers as files of a batch: what comes from a file is read there, the rest is saved first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.io.atomic import named_errors
from napari_foundseg.io.naming import free_stem, name_key
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.writers import write_image

__all__ = ["LAYERS", "files_of_layers"]

#: In the folder of the results: the pixels of layers that come from no file.
LAYERS = "layers"


def files_of_layers(images: Sequence[tuple[str, Image]], results: Path) -> tuple[Path, ...]:
    """Return a file for each layer, so that workers, a later run and a replay find its pixels.

    Parameters
    ----------
    images : sequence of (str, Image)
        The layers' names, and the layers as images.
    results : Path
        The folder of the results; what has to be saved goes into ``layers`` in it.

    Returns
    -------
    tuple of Path
        In the same order.

    Raises
    ------
    OutputError
        If something has to be saved and cannot be.
    """
    taken: set[str] = set()
    files = []
    for name, image in images:
        if _is_its_file(image):
            assert image.source is not None
            files.append(Path(image.source))
            continue
        stem = free_stem(name, taken)
        taken.add(name_key(stem))
        path = results / LAYERS / f"{stem}.tif"
        with named_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, image)
        files.append(path)
    return tuple(files)


def _is_its_file(image: Image) -> bool:
    """Tell whether a layer holds what its file says: a person may have changed it, or it is one channel of several."""
    if image.source is None:
        return False
    try:
        there = replace(read_image(image.source), axes=image.axes, channels=None)
    except FoundsegError:
        return False
    mine, its = image.levels[0], there.levels[0]
    if mine.shape != its.shape or mine.dtype != its.dtype:
        return False
    if isinstance(mine, np.ndarray) and isinstance(its, np.ndarray):
        return np.array_equal(mine, its, equal_nan=mine.dtype.kind == "f")
    return replace(image, channels=None).fingerprint() == there.fingerprint()

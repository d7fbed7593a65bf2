"""Files for the open layers of a batch; a layer that differs from its file is saved first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_foundseg.batch.item_image import read_plane
from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.io.atomic import named_errors
from napari_foundseg.io.naming import free_stem, name_key
from napari_foundseg.io.output_paths import free_path
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.writers import write_image
from napari_foundseg.io.written_files import whose_file

__all__ = ["LAYERS", "as_projected", "save_layers"]

#: Subfolder of the results for the pixels of layers that come from no file.
LAYERS = "layers"


def save_layers(images: Sequence[tuple[str, Image]], results: Path) -> tuple[Path, ...]:
    """Return a file for each layer, in order; a layer that differs from its file is saved in the results folder."""
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
        if not _is_its_file(replace(image, source=str(path))):
            with named_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and whose_file(path) != "ours":
                path = free_path(path)
            write_image(path, image)
        files.append(path)
    return tuple(files)


def as_projected(image: Image) -> Image:
    """Return an image whose slices are the projections along the slab; the image itself if it has no slab."""
    if image.slab is None:
        return image
    planes = [read_plane(image, index) for index in image.indices()]
    pixels = np.stack(planes).reshape(*image.slice_shape, *planes[0].shape)
    axes = image.slice_axes + "".join(axis for axis in str(image.axes) if axis not in image.slice_axes)
    return replace(image, data=pixels, axes=axes, slab=None, source=None)


def _is_its_file(image: Image) -> bool:
    """Tell whether a layer equals its file: the user may have edited it, or it may be one channel of several."""
    if image.source is None:
        return False
    try:
        file = read_image(image.source)
        there = replace(file, axes=image.axes, channels=None)
    except FoundsegError:
        return False
    if image.slab is not None and file.axes != image.axes:
        # The slab is along an axis of the layer.
        return False
    mine = image.levels[0]
    its = there.levels[0]
    if mine.shape != its.shape or mine.dtype != its.dtype:
        return False
    if isinstance(mine, np.ndarray) and isinstance(its, np.ndarray):
        return np.array_equal(mine, its, equal_nan=mine.dtype.kind == "f")
    return replace(image, channels=None).fingerprint() == there.fingerprint()

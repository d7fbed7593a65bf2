"""The npe2 reader of images, as plain layer data: one layer with axes, spacing, units and names of channels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.image import Image
from napari_foundseg.io.formats.units import is_known_unit
from napari_foundseg.io.image_listing import can_read_whole, images_of
from napari_foundseg.io.layer_files import LayerData
from napari_foundseg.io.naming import flat_name, is_image_folder, split_inside, stem_of, stem_of_labels
from napari_foundseg.io.readers import read_image

__all__ = ["CHANNEL_NAMES", "IMAGE_PATH", "image_attributes", "image_reader", "read_image_layer"]

#: Key of a layer's metadata for the names of the image's channels, in their order.
CHANNEL_NAMES = "foundseg channel names"
#: Key of a layer's metadata for the path of an image in a file with several images.
IMAGE_PATH = "foundseg image path"
#: Most images of one file to open at once.
_MOST_LAYERS = 20


def image_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return `read_image_layer` for an image, else None. npe2 passes a list of paths for a stack, which is not read."""
    if not isinstance(path, str) or stem_of_labels(Path(path).name) != Path(path).name:
        return None
    return None if Path(path).is_dir() and not is_image_folder(Path(path)) else read_image_layer


def read_image_layer(path: str) -> list[LayerData]:
    """Read an image as a layer: array, attributes, type. Pixels of large files are read when they are shown.

    If a file has several images of one kind, such as positions, each becomes a layer. A warning names the others.

    Raises
    ------
    FoundsegError
        If it cannot be read.
    """
    inside = images_of(Path(path))
    if len(inside.paths) > _MOST_LAYERS and not can_read_whole(Path(path)):
        # For a plate, reading it raises the error with the remedy.
        read_image(path)
    opened = [read_image(one) for one in inside.paths[:_MOST_LAYERS]]
    left = [f"{len(inside.paths) - _MOST_LAYERS} more images"] if len(inside.paths) > _MOST_LAYERS else []
    notes = [f"Left out: {', '.join([*left, *filter(None, [inside.left_out])])}."] if left or inside.left_out else []
    for note in dict.fromkeys((*notes, *(note for image in opened for note in image.notes))):
        warnings.warn(f"{Path(path).name}: {note}", stacklevel=2)
    return [_layer(one, image) for one, image in zip(inside.paths, opened, strict=False)]


def _layer(path: Path, image: Image) -> LayerData:
    data, attributes = image_attributes(image)
    if not split_inside(path)[1]:
        return data, {"name": stem_of(path.name), **attributes}, "image"
    # napari only has the path of the file.
    attributes["metadata"] = {**attributes["metadata"], IMAGE_PATH: str(path)}
    return data, {"name": stem_of(flat_name(path.as_posix())), **attributes}, "image"


def image_attributes(image: Image) -> tuple[Any, dict[str, Any]]:
    """Return pixels and attributes of the layer that shows an image.

    A channel axis becomes an axis of the layer with the label ``c``. The three or four colours of an RGB image do not.
    """
    axes = str(image.axes)
    levels = list(image.levels)
    rgb = axes.endswith("C") and levels[0].shape[-1] in (3, 4)
    if axes.endswith("C") and not rgb:
        # Rows and columns must come last.
        levels = [np.moveaxis(in_memory(level), -1, 0) for level in levels]
        axes = f"C{axes[:-1]}"
    letters = axes[:-1] if rgb else axes
    units = [image.units.get(letter, "pixel") for letter in letters]
    attributes: dict[str, Any] = {
        "rgb": rgb,
        "multiscale": len(levels) > 1,
        "scale": [image.spacing.get(letter, 1.0) for letter in letters],
        # Some files have units that napari does not support.
        "units": [unit if is_known_unit(unit) else "pixel" for unit in units],
        "axis_labels": [letter.lower() for letter in letters],
        "metadata": {CHANNEL_NAMES: list(image.channel_names)} if image.channel_names and not rgb else {},
    }
    return levels if len(levels) > 1 else levels[0], attributes

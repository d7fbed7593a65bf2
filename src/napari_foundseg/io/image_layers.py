"""npe2's reader of images, in plain layer data: one layer with axes, spacing, units and names of channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.image import Image
from napari_foundseg.io.formats.units import is_known_unit
from napari_foundseg.io.layer_files import LayerData
from napari_foundseg.io.naming import is_image_folder, stem_of, stem_of_labels
from napari_foundseg.io.readers import read_image

__all__ = ["CHANNEL_NAMES", "image_attributes", "image_reader", "read_image_layer"]

#: Key of a layer's metadata for the names of the image's channels, in their order.
CHANNEL_NAMES = "foundseg channel names"


def image_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return `read_image_layer` for an image, else None; npe2 passes a list of paths for a stack."""
    if not isinstance(path, str) or stem_of_labels(Path(path).name) != Path(path).name:
        return None
    return None if Path(path).is_dir() and not is_image_folder(Path(path)) else read_image_layer


def read_image_layer(path: str) -> list[LayerData]:
    """Read an image as one layer: array, attributes, type. Large files are opened, and read where they are shown.

    Raises
    ------
    FoundsegError
        If it cannot be read.
    """
    image = read_image(path)
    data, attributes = image_attributes(image)
    return [(data, {"name": stem_of(Path(path).name), **attributes}, "image")]


def image_attributes(image: Image) -> tuple[Any, dict[str, Any]]:
    """Return pixels and attributes of the layer that shows an image.

    A channel axis is an axis of the layer with the label ``c``; the three or four colours of an RGB image are none.
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
        # Some files name units that napari does not know.
        "units": [unit if is_known_unit(unit) else "pixel" for unit in units],
        "axis_labels": [letter.lower() for letter in letters],
        "metadata": {CHANNEL_NAMES: list(image.channel_names)} if image.channel_names and not rgb else {},
    }
    return levels if len(levels) > 1 else levels[0], attributes

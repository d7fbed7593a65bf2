"""Sample images in the package: real pictures that were not used to train the built-in model."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

__all__ = ["open_nuclei", "open_tissue", "sample"]


def sample(name: str) -> Path:
    """Return the file of a sample image.

    Parameters
    ----------
    name : {'nuclei', 'tissue'}
        Fluorescent nuclei (520 by 696, grey) or a stained tissue section (256 by 320, RGB).

    Returns
    -------
    Path
        A PNG file.
    """
    return Path(str(files("napari_foundseg").joinpath("sample_data", f"{name}.png")))


def open_nuclei() -> list[tuple[Any, dict[str, Any], str]]:
    """Open the fluorescent nuclei as npe2's sample data: array, attributes, layer type."""
    return _read_sample("nuclei")


def open_tissue() -> list[tuple[Any, dict[str, Any], str]]:
    """Open the stained tissue section as npe2's sample data: array, attributes, layer type."""
    return _read_sample("tissue")


def _read_sample(name: str) -> list[tuple[Any, dict[str, Any], str]]:
    from napari_foundseg.io.readers import read_image

    image = read_image(sample(name))
    return [(image.raw(), {"name": name, "rgb": "C" in (image.axes or "")}, "image")]

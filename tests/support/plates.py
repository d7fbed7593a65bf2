"""OME-Zarr folders that hold several images: plates, and what bioformats2raw writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray


def write_image(path: Path, pixels: NDArray[Any], axes: str = "yx", name: str = "", version: int = 2) -> None:
    scale = [{"type": "scale", "scale": [1.0] * pixels.ndim}]
    types = {"c": "channel", "t": "time"}
    multiscale: dict[str, Any] = {
        "axes": [{"name": axis, "type": types.get(axis, "space")} for axis in axes],
        "datasets": [{"path": "0", "coordinateTransformations": scale}],
        "name": name,
    }
    group = zarr.create_group(path, zarr_format=version)  # type: ignore[arg-type]
    if version == 2:
        group.attrs["multiscales"] = [multiscale | {"version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    group.create_array("0", shape=pixels.shape, dtype=pixels.dtype, chunks=pixels.shape)[...] = pixels


def write_plate(path: Path, fields: dict[str, NDArray[Any]], version: int = 2) -> None:
    """Write a plate of fields such as ``A/2/0``."""
    wells: dict[str, list[str]] = {}
    for name in fields:
        wells.setdefault(name.rpartition("/")[0], []).append(name.rpartition("/")[2])
    _group(path, {"plate": {"wells": [{"path": well} for well in wells]}}, version)
    for row in {well.partition("/")[0] for well in wells}:
        zarr.create_group(path / row, zarr_format=version)  # type: ignore[arg-type]
    for well, names in wells.items():
        _group(path / well, {"well": {"images": [{"path": name} for name in names]}}, version)
    for name, pixels in fields.items():
        write_image(path / name, pixels, version=version)


def write_series(path: Path, images: list[NDArray[Any]], names: tuple[str, ...] = ()) -> None:
    """Write images as bioformats2raw does, in numbered groups."""
    _group(path, {"bioformats2raw.layout": 3}, 2)
    for i, pixels in enumerate(images):
        axes = "yx" if pixels.ndim == 2 else "cyx"
        write_image(path / str(i), pixels, axes, names[i] if names else "")


def field(seed: int, shape: tuple[int, ...] = (40, 50)) -> NDArray[np.uint16]:
    """Return noise that differs from one seed to the next."""
    return np.random.default_rng(seed).integers(0, 60000, shape, np.uint16)


def _group(path: Path, attributes: dict[str, Any], version: int) -> None:
    found = {"ome": {"version": "0.5", **attributes}} if version == 3 else attributes
    zarr.create_group(path, zarr_format=version, attributes=found)  # type: ignore[arg-type]

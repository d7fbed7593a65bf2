"""How a network's pictures are prepared, from ``albumentations_config_eval.json`` in folders of the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.files.folder_files import read_json
from napari_foundseg.models.row_options import LARGEST_SIDE

__all__ = ["Transforms", "transforms_beside"]

_FILE = "albumentations_config_eval.json"
#: Steps to ignore. Pictures become tensors and are padded in any case.
_NOTHING = {"Compose", "ToTensorV2", "ToFloat", "PadIfNeeded", "CenterCrop", "RandomCrop"}


class Transforms(NamedTuple):
    """Settings in a file; empty where the file has none."""

    mean: tuple[float, ...] = ()
    """Of each channel, of values from 0 to 1."""
    std: tuple[float, ...] = ()
    """Standard deviation of each channel."""
    size: tuple[int, int] | None = None
    """Rows and columns that pictures are resized to."""
    window: int = 0
    """Longest side of pictures, or side of crops."""
    left_out: tuple[str, ...] = ()
    """Names of steps that are unknown here."""


def transforms_beside(folder: Path) -> Transforms:
    """Return the preparation that a folder's file describes; empty if there is no such file.

    Raises CheckpointError if the file has wrong values.
    """
    if not (folder / _FILE).is_file():
        return Transforms()
    content = read_json(folder / _FILE)
    found = Transforms()
    try:
        for name, step in _steps(content.get("transform", content)):
            found = _with(found, name, step)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{folder / _FILE} does not say how pictures are prepared: {error!s:.200}.") from error
    return found


def _steps(step: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return a step and all steps nested in it, each with the name of its class."""
    inner = step.get("transforms") or []
    return [
        (str(step["__class_fullname__"]).rpartition(".")[2], step),
        *(one for part in inner for one in _steps(part)),
    ]


def _with(found: Transforms, name: str, step: dict[str, Any]) -> Transforms:
    if name == "Normalize":
        if step.get("normalization", "standard") != "standard":
            raise ValueError(f"the normalisation {step['normalization']!r:.40} is not known")
        scale = float(step.get("max_pixel_value", 255.0)) / 255
        mean, std = (tuple(scale * float(one) for one in step[part]) for part in ("mean", "std"))
        if len(mean) not in (1, 3) or len(std) != len(mean) or min(std) <= 0:
            raise ValueError(f"mean {step['mean']!r:.60} and std {step['std']!r:.60}")
        return found._replace(mean=mean, std=std)
    if name == "Resize":
        return found._replace(size=(_side(step["height"]), _side(step["width"])))
    if name == "LongestMaxSize":
        sides = step["max_size"]
        return found._replace(window=_side(max(sides) if isinstance(sides, list) else sides))
    if name in ("CenterCrop", "RandomCrop") and not (found.size or found.window):
        return found._replace(window=_side(max(step["height"], step["width"])))
    return found if name in _NOTHING else found._replace(left_out=(*found.left_out, name))


def _side(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= LARGEST_SIDE:
        raise ValueError(f"the side {value!r:.40}; 1 to {LARGEST_SIDE} pixels can be")
    return value

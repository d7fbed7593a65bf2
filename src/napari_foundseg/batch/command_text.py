"""Writing a run as a command line, and reading the options of a command."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from napari_foundseg.core.contrast import Normalisation
from napari_foundseg.core.errors import SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.pixels.slab import Slab
from napari_foundseg.core.validation_messages import validation_message
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.readers import read_image
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.task_models import expectation

__all__ = ["IMAGE_OPTIONS", "as_command", "image_of", "inputs_of", "spacing_of"]

#: Longest inputs that are put on the command line, in characters. Shells accept some thousands, but people read fewer.
_LONGEST = 1000
#: Command options that say how an image is read, with their help texts.
IMAGE_OPTIONS = {
    "axes": "Axes of the image, such as ZYX or YXC.",
    "channels": "One to three channels, by number from 0 or by name, such as 0 or 2,0,1 or GFP,DAPI, or as JSON; "
    "red, green and blue of RGB images, 0,1,2 for RGB. Default: the first, or what the colours of an RGB image give.",
    "normalisation": 'How grey values become 8 bits, as JSON, such as {"kind": "limits", "low": 0, "high": 4095}; '
    "kinds are percentile, as is, min to max, limits and ct. Default: as the model expects.",
    "slab": "Neighbouring slices of which models see a projection, as JSON, such as "
    '{"mode": "max", "margins": {"Z": [2, 2]}}; modes are max, mean, min and sum. Default: each slice alone.',
    "spacing": 'Size of a pixel along each axis, as JSON, such as {"Y": [0.65, "µm"], "X": [0.65, "µm"]}.',
}


def as_command(
    request: RunRequest, layer: str, layers: Mapping[str, str] | None = None, folder: Path | None = None
) -> str:
    """Return a command line, quoted for this system's shell, that writes the same labels as a run.

    `layers` maps inputs that come from layers to the names of those layers. Long inputs, such as pictures of examples,
    are written to a file in `folder`, and the command names that file. Without a folder they are put on the line.
    """
    image = request.image
    words = [
        "napari-foundseg",
        "run",
        request.task.replace("_", "-"),
        image.source or f"{layer}.tif",
        "--out",
        "labels.tif",
        "--model",
        request.model,
    ]
    words += ["--axes", str(image.axes)]
    if image.chosen_channels:
        words += ["--channels", ",".join(map(str, image.chosen_channels))]
    if image.normalisation not in (None, expectation(request.model)):
        words += ["--normalisation", image.normalisation.model_dump_json()]
    if image.slab is not None:
        words += ["--slab", image.slab.model_dump_json()]
    if image.spacing:
        words += ["--spacing", _json({axis: [size, image.units.get(axis, "")] for axis, size in image.spacing.items()})]
    given = request.inputs.model_dump(mode="json", exclude_none=True, exclude=set(layers or ()))
    given |= {name: f"{other}.tif" for name, other in (layers or {}).items()}
    if given:
        text = _json(given)
        words += ["--inputs", text if folder is None or len(text) <= _LONGEST else str(_kept(text, folder))]
    for name, value in request.settings.model_dump(mode="json", exclude_none=True).items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    return shlex.join(words) if os.name == "posix" else subprocess.list2cmdline(words)


def _kept(text: str, folder: Path) -> Path:
    """Write inputs to a file named by their hash, so that equal inputs share one file."""
    path = folder / f"inputs-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(text.encode())
    return path


def image_of(path: Path, options: Mapping[str, str | None]) -> Image:
    """Read an image with the options of a command."""
    axes, channels, normalisation, slab, spacing = (options.get(name) for name in IMAGE_OPTIONS)
    changed: dict[str, Any] = {}
    if channels is not None:
        changed["channels"] = _channels(channels)
    if normalisation is not None:
        changed["normalisation"] = _read("normalisation", normalisation, Normalisation)
    if slab is not None:
        changed["slab"] = _read("slab", slab, Slab)
    if spacing is not None:
        changed["spacing"], changed["units"] = spacing_of(spacing)
    return replace(read_image(path, axes), **changed)


def spacing_of(text: str | None) -> tuple[dict[str, float], dict[str, str]]:
    """Read pixel sizes and their units, each by axis; both are empty if `text` is None."""
    sizes = {} if text is None else _read("spacing", text, dict[str, tuple[float, str]])
    return {axis: size for axis, (size, _) in sizes.items()}, {axis: unit for axis, (_, unit) in sizes.items() if unit}


def inputs_of(text: str) -> dict[str, Any]:
    """Read a task's inputs from a JSON object, or from a file that holds one."""
    content = text
    if not text.lstrip().startswith("{"):
        try:
            content = Path(text).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"inputs = {text!r}: expected a JSON object or a file that holds one ({error})."
            ) from error
    fields: dict[str, Any] = _read("inputs", text, dict[str, Any], content)
    return fields


def _read(name: str, shown: str, kind: Any, text: str | None = None) -> Any:
    try:
        return TypeAdapter(kind).validate_json(shown if text is None else text)
    except ValidationError as error:
        raise SettingsError(f"{name} = {shown!r}: {validation_message(error)}") from error


def _channels(text: str) -> tuple[int | str, ...]:
    """Read channels: numbers or names separated by commas, or a JSON list of them."""
    if text.lstrip().startswith("["):
        numbers: tuple[int | str, ...] = _read("channels", text, tuple[int | str, ...])
        return numbers
    names = tuple(name for part in text.split(",") if (name := part.strip()))
    if not names:
        raise SettingsError(f"channels = {text!r}: expected one to three numbers or names, such as 0 or DAPI,GFP.")
    return names


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

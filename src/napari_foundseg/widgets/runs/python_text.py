"""A run of the window as Python text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_foundseg.core.image import Image
from napari_foundseg.core.levels import Level
from napari_foundseg.core.normalisation import Percentile
from napari_foundseg.tasks import Inputs, Settings
from napari_foundseg.tasks.level_inputs import at_level

__all__ = ["as_python"]


def as_python(
    task: str,
    image: Image,
    layer: str,
    inputs: Inputs,
    settings: Settings,
    model: str,
    level: Level | None = None,
    layers: Mapping[str, str] | None = None,
) -> str:
    """Write a run as Python.

    Parameters
    ----------
    task : str
        The task's name.
    image : Image
        The image.
    layer : str
        Name of its layer, for images that come from no file.
    inputs : Inputs
        Where to look.
    settings : Settings
        How.
    model : str
        The model's name.
    level : Level, optional
        The level of the image's pyramid that was looked at; the finest by default.
    layers : mapping of str to str, optional
        Inputs that are the pixels of a layer, by the layer's name.

    Returns
    -------
    str
        Lines that give the same `Segmentation` as ``seg``.
    """
    if level is not None:
        inputs, settings = at_level(inputs, settings, level)
    options: dict[str, Any] = {"axes": image.axes}
    if "C" in str(image.axes):
        options["channels"] = image.channels
    extra = "\n"
    if image.normalisation != Percentile():
        kind = type(image.normalisation).__name__
        extra = f"from napari_foundseg.core.normalisation import {kind}\n\n"
    lines = ["import napari_foundseg as fs\n", "from napari_foundseg.api import run\n", extra]
    data = f"viewer.layers[{layer!r}].data"
    if image.source:
        lines.insert(2, "from napari_foundseg.io import read_image\n")
        data = f"read_image({image.source!r}).data"
    arguments = "".join(f", {k}={v!r}" for k, v in options.items())
    if len(lines[-1]) > 1:
        arguments += f", normalisation={image.normalisation!r}"
    values = settings.model_dump(mode="json")
    keywords = "".join(f"    {name}={value!r},\n" for name, value in values.items())
    shown = _inputs(inputs, layers or {})
    lines.append(f"image = fs.Image({data}{arguments})\n")
    of, end = "image", ""
    if level is not None:
        lines.insert(2, "from napari_foundseg.core.levels import Level\n")
        lines.append(f"level = Level(image, {level.number})\n")
        of, end = "level.image", "seg = level.result(seg)\n"
    lines.append(f"seg = run(\n    {task!r},\n    {of},\n    {shown},\n")
    return "".join([*lines, f"    model={model!r},\n", keywords, ")\n", end])


def _inputs(inputs: Inputs, layers: Mapping[str, str]) -> str:
    if hasattr(inputs, "prompts"):
        return f"{{'prompts': [{', '.join(_prompt(item) for item in inputs.prompts)}]}}"
    given = inputs.model_dump(mode="python", exclude={"prompts", *layers})
    shown = {name: repr(value) for name, value in given.items() if value is not None}
    # A layer may have axes of length 1 that the image has not.
    shown |= {name: f"viewer.layers[{layer!r}].data.reshape(image.shape)" for name, layer in layers.items()}
    return f"{{{', '.join(f'{name!r}: {text}' for name, text in shown.items())}}}"


def _prompt(prompt: Any) -> str:
    return "fs.Prompt(" + ", ".join(f"{k}={v!r}" for k, v in prompt.to_json().items()) + ")"

"""A run of the window as Python text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_foundseg.core.contrast import Percentile
from napari_foundseg.core.image import Image
from napari_foundseg.core.pyramids import Level
from napari_foundseg.tasks import Inputs, Settings

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
    level : Level, optional
        The level of a multiscale image that was segmented; the finest by default.
    layers : mapping of str to str, optional
        Inputs that are the pixels of a layer, by the layer's name.
    """
    if level is not None:
        inputs = inputs.at_level(level)
        settings = settings.at_level(level)
    data = f"fs.read_image({image.source!r}).data" if image.source else f"viewer.layers[{layer!r}].data"
    options: dict[str, Any] = {"axes": image.axes}
    if "C" in str(image.axes):
        options["channels"] = image.channels
    arguments = "".join(f", {name}={value!r}" for name, value in options.items())
    if image.normalisation != Percentile():
        arguments += f", normalisation=fs.{image.normalisation!r}"
    lines = ["import napari_foundseg as fs", "", f"image = fs.Image({data}{arguments})"]
    run_on = "image"
    if level is not None:
        lines.append(f"level = fs.Level(image, {level.number})")
        run_on = "level.image"
    lines += ["seg = fs.run(", f"    {task!r},", f"    {run_on},", f"    {_inputs(inputs, layers or {})},"]
    lines.append(f"    model={model!r},")
    lines += [f"    {name}={value!r}," for name, value in settings.model_dump(mode="json").items()]
    lines.append(")")
    if level is not None:
        lines.append("seg = level.result(seg)")
    return "\n".join(lines) + "\n"


def _inputs(inputs: Inputs, layers: Mapping[str, str]) -> str:
    shown = inputs.python_arguments(without=layers)
    # A layer may have axes of length 1 that the image has not.
    shown |= {name: f"viewer.layers[{layer!r}].data.reshape(image.shape)" for name, layer in layers.items()}
    return f"{{{', '.join(f'{name!r}: {text}' for name, text in shown.items())}}}"

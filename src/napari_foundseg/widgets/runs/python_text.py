"""A run of the window as Python text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_foundseg.tasks import Inputs
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.task_models import expectation

__all__ = ["as_python"]


def as_python(request: RunRequest, layer: str, layers: Mapping[str, str] | None = None) -> str:
    """Return Python lines that produce the same `Segmentation`, as ``seg``.

    Parameters
    ----------
    request : RunRequest
        The run.
    layer : str
        Name of the image's layer, for images that come from no file.
    layers : mapping of str to str, optional
        Names of the layers whose pixels are inputs, by the names of the inputs.
    """
    image = request.image
    level = request.level
    given = request.at_level()
    data = f"fs.read_image({image.source!r}).data" if image.source else f"viewer.layers[{layer!r}].data"
    options: dict[str, Any] = {"axes": image.axes}
    if "C" in str(image.axes):
        options["channels"] = image.channels
    arguments = "".join(f", {name}={value!r}" for name, value in options.items())
    if image.normalisation not in (None, expectation(request.model)):
        arguments += f", normalisation=fs.{image.normalisation!r}"
    if image.slab is not None:
        arguments += f", slab=fs.{image.slab!r}"
    lines = ["import napari_foundseg as fs", "", f"image = fs.Image({data}{arguments})"]
    run_on = "image"
    if level is not None:
        lines.append(f"level = fs.Level(image, {level.number})")
        run_on = "level.image"
    lines += ["seg = fs.run(", f"    {request.task!r},", f"    {run_on},"]
    lines += [f"    {_inputs(given.inputs, layers or {})},", f"    model={request.model!r},"]
    lines += [f"    {name}={value!r}," for name, value in given.settings.model_dump(mode="json").items()]
    lines.append(")")
    if level is not None:
        lines.append("seg = level.result(seg)")
    return "\n".join(lines) + "\n"


def _inputs(inputs: Inputs, layers: Mapping[str, str]) -> str:
    shown = inputs.python_arguments(without=layers)
    # A layer may have axes of length 1 that the image does not have.
    shown |= {name: f"viewer.layers[{layer!r}].data.reshape(image.shape)" for name, layer in layers.items()}
    return f"{{{', '.join(f'{name!r}: {text}' for name, text in shown.items())}}}"

"""Run a task in this process, without a window."""

from __future__ import annotations

from typing import Any

from napari_foundseg.core.result import Segmentation
from napari_foundseg.models import catalog
from napari_foundseg.models.loading import load_model
from napari_foundseg.tasks import TASKS, Inputs
from napari_foundseg.tasks.settings import Progress, ignore_progress
from napari_foundseg.tasks.task_models import image_for, model_defaults

__all__ = ["run"]


def run(
    task: str,
    image: Any,
    inputs: dict[str, Any],
    *,
    model: Any,
    method: str | None = None,
    axes: str | None = None,
    progress: Progress = ignore_progress,
    **settings: Any,
) -> Segmentation:
    """Run any task in this process; *Copy as Python* writes calls of it.

    Parameters
    ----------
    task : str
        Name of a task, such as ``automatic``; ``napari-foundseg run --help`` lists them.
    image : array-like or Image or str or Path
        The image, or a file that holds one. Stacks are processed slice by slice.
    inputs : dict
        Fields of the task's inputs, such as ``{"prompts": [...]}``; ``{}`` for none.
    model : str or loaded model
        Name of a model in the catalogue, or a model that `load_model` returned.
    method : str, optional
        A method of the task; by default the first whose protocol the model implements.
    axes : str, optional
        Axes such as ``"ZYX"`` or ``"YXC"``; by default a last axis of 3 or 4 is RGB(A) and leading axes are slices.
    progress : callable
        Called with the share done (0 to 1) and a description of the current step.
    **settings
        Fields of the method's settings. For fields left out, the model's own defaults apply, then the method's.

    Returns
    -------
    Segmentation
        The result.

    Raises
    ------
    FoundsegError
        The subclass and the message name what is wrong with the image, the inputs, the model or a setting.
    """
    from napari_foundseg.io.image_sources import as_image

    row = TASKS[task]
    picture = as_image(image, axes)
    parsed: Inputs = row.inputs.parse(inputs)
    name = model if isinstance(model, str) else model.name
    method = row.method_for(catalog.row(name).protocols) if method is None else method
    checked = row.settings(method, {**model_defaults(name, task, method), **settings})
    loaded = load_model(model, protocol=row.protocols[method])
    return row.run(image_for(name, picture, checked), parsed, checked, loaded, progress)

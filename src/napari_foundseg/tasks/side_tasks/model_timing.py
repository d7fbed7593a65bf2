"""Timing of a model on a standard picture: to encode it, for a click, and for a whole run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np

from napari_foundseg.core.errors import Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.samples import sample
from napari_foundseg.models.catalog import CatalogRow, row
from napari_foundseg.models.choosing.times import DeviceTimes, ModelTimes
from napari_foundseg.models.device import choose_device, gpus
from napari_foundseg.models.loading import load_model
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Progress, Task
from napari_foundseg.tasks.task_models import model_defaults

__all__ = ["measure_model", "timed_runs"]

#: Number of clicks, of which the median counts.
_CLICKS = 5
#: Tasks whose inputs are only a region. A model is timed in *Automatic masks*, or else in the first that it can run.
_TIMED = ("automatic", "panoptic", "semantic", "cluster")


def measure_model(
    name: str,
    progress: Progress,
    cancelled: Callable[[], bool],
    devices: Sequence[str] | None = None,
) -> ModelTimes:
    """Measure a model on each device of this computer; the first encoding, which loads kernels, does not count.

    Parameters
    ----------
    name : str
        Name of the model in the catalogue.
    progress : callable
        Called with the share done and a text.
    cancelled : callable
        Called before each step; `Cancelled` is raised if it returns True.
    devices : sequence of str, optional
        All devices by default.

    Returns
    -------
    ModelTimes
        The measured times.
    """
    chosen = list(devices or [*gpus(), "cpu"])
    measured = {}
    key = ""
    for done, device in enumerate(chosen):

        def report(share: float, words: str, *, done: int = done, device: str = device) -> None:
            progress((done + share) / len(chosen), f"{device}: {words}")

        report(0.0, "loading")
        model = load_model(name, device=device)
        key = model.key
        measured[device] = _measure(model, row(name), report, cancelled)
    return ModelTimes(key=key, auto=choose_device("auto"), devices=measured)


def timed_runs(found: CatalogRow) -> Iterator[tuple[Task, str]]:
    """Yield the task and the methods with which a model is timed."""
    for name in _TIMED:
        task = TASKS[name]
        if methods := [method for method, protocol in task.protocols.items() if protocol in found.protocols]:
            # The methods of each other task take about the same time.
            yield from ((task, method) for method in (methods if name == "automatic" else methods[:1]))
            return


def _measure(model: Any, found: CatalogRow, progress: Progress, cancelled: Callable[[], bool]) -> DeviceTimes:
    image = read_image(sample("nuclei"))
    encode, click = None, None
    if "Promptable" in found.protocols:
        _poll(cancelled)
        progress(0.1, "encoding")
        encode, click = _time_prompts(model, image)
    runs = {}
    speeds = {}
    for task, method in timed_runs(found):
        _poll(cancelled)
        progress(0.4, f"{task.title}, {method}")
        request = RunRequest(
            task.name, image, task.inputs(), task.settings(method, model_defaults(found.name, task.name, method)),
            found.name,
        )  # fmt: skip
        runs[f"{task.name}.{method}"] = seconds = _time_run(request, task, model, cancelled)
        speeds[method] = seconds / request.work
    return DeviceTimes(encode=encode, click=click, runs=runs, speeds=speeds)


def _time_prompts(model: Any, image: Image) -> tuple[float, float]:
    side = min(*image.plane_shape, model.window)
    rgb = np.ascontiguousarray(image.rgb((), (0, 0, side - 1, side - 1)))
    encoded = model.encode(rgb)
    started = time.perf_counter()
    encoded = model.encode(rgb)
    _wait_for_device(model.device)
    encode = time.perf_counter() - started
    # A box, because some models take no points.
    prompt = Prompt(box=(side * 0.25, side * 0.25, side * 0.75, side * 0.75))
    clicks = []
    for _ in range(_CLICKS):
        started = time.perf_counter()
        model.decode(encoded, [prompt], multimask=False)
        clicks.append(time.perf_counter() - started)
    return encode, median(clicks)


def _time_run(request: RunRequest, task: Task, model: Any, cancelled: Callable[[], bool]) -> float:
    started = time.perf_counter()
    task.run(request.image, request.inputs, request.settings, model, cancelled=cancelled)
    return time.perf_counter() - started


def _poll(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("The measurement was cancelled.")


def _wait_for_device(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)

"""A task that does what its settings say, and a model that needs no weights."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pandas as pd

from napari_foundseg.core.errors import BadImageError, Cancelled
from napari_foundseg.core.object_table import TABLE_COLUMNS
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models import loading
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.settings import Inputs, Settings, Task


class FakeInputs(Inputs):
    index: tuple[int, ...] | None = None


class FakeSettings(Settings):
    method: Literal["fake"] = "fake"
    act: str = "threshold"
    seconds: float = 0


def slices(image: Any, inputs: FakeInputs) -> list[tuple[int, ...]]:
    return list(image.indices()) if inputs.index is None else [inputs.index]


def run(image: Any, inputs: FakeInputs, settings: FakeSettings, model: Any, progress: Any, cancelled: Any) -> Any:
    _misbehave(settings, cancelled)
    labels = np.zeros(image.shape, np.uint16)
    planes = slices(image, inputs)
    for number, index in enumerate(planes):
        image.plane_view(labels, index)[:] = image.raw(index) > image.limits[0]
        progress((number + 1) / len(planes), f"slice {number + 1} of {len(planes)}")
        if settings.act == "threshold":
            time.sleep(settings.seconds)
    table = pd.DataFrame([dict.fromkeys(TABLE_COLUMNS, 1)])
    maps = {(): np.ones((3, 2048, 2048), np.float16)} if settings.act == "maps" else None
    provenance = {"pid": os.getpid(), "fingerprint": image.fingerprint(), "limits": list(image.limits)}
    return Segmentation(labels, table, provenance=provenance, maps=maps)


def _misbehave(settings: FakeSettings, cancelled: Any) -> None:
    match settings.act:
        case "poll":
            end = time.monotonic() + settings.seconds
            while time.monotonic() < end:
                if cancelled():
                    raise Cancelled("The run was cancelled.")
                time.sleep(0.01)
        case "deaf":
            time.sleep(settings.seconds)
        case "exit":
            os._exit(3)
        case "allocate":
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")
        case "allocate array":
            np.zeros((1 << 24, 1 << 24))
        case "divide":
            _ = 1 // int(settings.seconds)
        case "quit":
            raise SystemExit(1)
        case "bad image":
            raise BadImageError("cells.tif", "it is damaged")


TASK = Task(
    name="fake",
    title="Fake",
    inputs=FakeInputs,
    methods={"fake": FakeSettings},
    protocols={"fake": "Promptable"},
    function=run,
    slices=slices,
)


def register() -> None:
    TASKS["fake"] = TASK
    loading.load_model = lambda name, **_: SimpleNamespace(name=name, device="cpu")

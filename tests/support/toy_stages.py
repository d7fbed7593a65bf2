"""Stages that do what their order says, for a pool of real processes."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import BadImageError, Cancelled
from napari_foundseg.engine.stages import Ended, StageContext


def read(order: dict[str, Any], context: StageContext) -> Any:
    began = time.monotonic()
    context.progress(0, "reading")
    time.sleep(order.get("read", 0))
    if order.get("act") == "known":
        return Ended("known")
    return order | {"thread": threading.current_thread().name, "spans": [(began, time.monotonic())]}


def compute(value: dict[str, Any], context: StageContext) -> Any:
    began = time.monotonic()
    context.progress(0.5, "computing")
    match value.get("act"):
        case "exit":
            os._exit(3)
        case "bad":
            raise BadImageError("cells.tif", "it is damaged")
        case "quit":
            sys.exit(1)
        case "poll":
            while not context.cancelled():
                time.sleep(0.01)
            raise Cancelled("The run was cancelled.")
    time.sleep(value.get("compute", 0))
    value["spans"].append((began, time.monotonic()))
    return value | {"model": context.model("foundseg-tiny").name}


def write(value: dict[str, Any], context: StageContext) -> Any:
    began = time.monotonic()
    time.sleep(value.get("write", 0))
    value["spans"].append((began, time.monotonic()))
    return value | {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}


def torch_threads(value: Any, context: StageContext) -> Any:
    import torch

    return value | {"torch": torch.get_num_threads()}


def log_after_torch(value: Any, context: StageContext) -> Any:
    import torch  # noqa: F401 - its libraries write to the process's error stream

    return value | {"log": Path("/proc/self/fd/2").read_text()}


STAGES = (read, compute, write)

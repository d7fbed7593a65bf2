"""Functions that the engine's process calls beside runs."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from napari_foundseg.core.errors import BadImageError, Cancelled
from napari_foundseg.engine.stages import StageContext


def count(argument: dict[str, Any], context: StageContext) -> dict[str, Any]:
    """Do what the argument says, until it is cancelled."""
    context.progress(0.5, "half of it")
    match argument.get("act"):
        case "exit":
            os._exit(3)
        case "bad":
            raise BadImageError("cells.tif", "it is damaged")
        case "poll":
            while not context.cancelled():
                time.sleep(0.01)
            raise Cancelled("It was cancelled.")
    return {"pid": os.getpid(), "thread": threading.current_thread().name, "device": context.device}

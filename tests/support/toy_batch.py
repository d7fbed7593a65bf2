"""Stages of a batch whose images are texts that say what is to happen: what a runner does with what comes."""

from __future__ import annotations

import errno
import os
import time
from typing import Any

from napari_foundseg.batch.item_stages import ItemOutcome, Order
from napari_foundseg.core.errors import Cancelled, OutputError
from napari_foundseg.engine.stages import Ended, StageContext


def read(order: Order, context: StageContext) -> Any:
    context.progress(0, "reading")
    words = order.item.path.read_text().split()
    with (order.folder.path / "log").open("a") as log:
        log.write(f"{os.getpid()} {order.item.stem} {time.monotonic()}\n")
    return order, words


def compute(ready: tuple[Order, list[str]], context: StageContext) -> Any:
    order, words = ready
    context.progress(0.5, "computing")
    match words:
        case ["exit"]:
            time.sleep(0.1)
            os._exit(3)
        case ["fail"]:
            return Ended(_outcome(order, "failed", reason="it is damaged", error="BadImageError"))
        case ["raise"]:
            raise OutputError("no such luck")
        case ["fail", "once"]:
            order.item.path.write_text("done")
            return Ended(_outcome(order, "failed", reason="just now", error="BadImageError"))
        case ["full"]:
            return Ended(_outcome(order, "failed", reason=os.strerror(errno.ENOSPC), ends_batch=True))
        case ["elsewhere"]:
            order.item.path.write_text("done")
            return Ended(_outcome(order, "elsewhere"))
        case ["poll"]:
            while not context.cancelled():
                time.sleep(0.01)
            return Ended(_outcome(order, "stopped"))
        case ["poll", "raise"]:
            while not context.cancelled():
                time.sleep(0.01)
            raise Cancelled("The run was cancelled.")
        case ["sleep", seconds]:
            time.sleep(float(seconds))
    return order, words


def write(computed: tuple[Order, list[str]], context: StageContext) -> ItemOutcome:
    order, words = computed
    reason = "the picture is dark" if words == ["dark"] else ""
    return _outcome(order, "done", objects=3, seconds=0.5, reason=reason)


def _outcome(order: Order, state: Any, **more: Any) -> ItemOutcome:
    return ItemOutcome(order.item.name, order.item.stem, state, **more)


STAGES = (read, compute, write)

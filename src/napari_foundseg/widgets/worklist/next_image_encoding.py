"""Encoding of the next image of the worklist before the user clicks in it."""

from __future__ import annotations

from collections import deque

import numpy as np
from qtpy.QtCore import QObject, QTimer

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.task_models import models_for
from napari_foundseg.widgets.runs.run import Run
from napari_foundseg.widgets.runs.run_follower import RunFollower
from napari_foundseg.widgets.runs.shared_engine import engine_started

__all__ = ["NextImageEncoding", "clicks"]

#: Pixels between clicks: half the window of the smallest model, which is the distance between windows.
_STEP = 128
#: Maximum number of clicks in one image: enough for 2048 by 2048 pixels.
_MOST = 256
#: Minimum number of milliseconds between two clicks.
_PAUSE = 250
#: The pause is at least this many times as long as a click took, so that the engine is mostly idle.
_SHARE = 3


def clicks(shape: tuple[int, int]) -> list[tuple[float, float]]:
    """Return rows and columns of clicks with which all windows are encoded, from the middle outwards.

    In images larger than 2048 by 2048 pixels, the outer windows are omitted.
    """
    rows, columns = (np.arange(min(_STEP, n) // 2, n, _STEP) for n in shape)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    middle_first = np.abs(grid - np.array(shape) / 2).max(1).argsort(kind="stable")
    return [(float(y), float(x)) for y, x in grid[middle_first[:_MOST]]]


class NextImageEncoding(QObject):
    """Prompts an image at points all over it, one at a time; the engine keeps the encoded windows.

    A click of the user waits for at most one such prompt. Encoding starts only after the engine was started, and stacks
    are ignored. The encodings are those of the default model, channels and contrast.
    """

    def __init__(self) -> None:
        super().__init__()
        self._image: Image | None = None
        self._points: deque[tuple[float, float]] = deque()
        self._follower = RunFollower(self)
        self._follower.done.connect(self._prompt_later)
        self._follower.failed.connect(self.stop)
        self._follower.cancelled.connect(self.stop)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.timeout.connect(self._prompt_next)

    def begin(self, image: Image) -> None:
        """Encode an image instead of the previous one."""
        self.stop()
        if image.slice_axes:
            return
        # Without a file, like the image of the later layer, so that its pixels are sent to the engine, too.
        self._image = Image(image.data, image.axes, image.channels or None)
        self._points.extend(clicks(image.plane_shape))
        self._pause.start(_PAUSE)

    def stop(self) -> None:
        """Stop encoding."""
        self._pause.stop()
        self._points.clear()
        self._image = None
        self._follower.cancel()

    def _prompt_next(self) -> None:
        if not engine_started():
            self._pause.start(_PAUSE)
        elif self._points and self._image is not None:
            task = TASKS["prompt"]
            model = models_for("prompt")[0]
            inputs = task.inputs.parse({"prompts": (Prompt(points=[self._points.popleft()]),)})
            settings = task.settings(task.method_for(model.protocols), {})
            run = Run(RunRequest("prompt", self._image, inputs, settings, model.name), replace="ahead")
            try:
                self._follower.start(run)
            except FoundsegError:
                # The user sees the error with a run of their own.
                self.stop()

    def _prompt_later(self) -> None:
        self._pause.start(max(_PAUSE, round(1000 * _SHARE * self._follower.seconds)))

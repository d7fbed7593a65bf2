"""The next image's windows, encoded before a person clicks into them."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Qt, QTimer

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.catalog import models_for
from napari_foundseg.tasks import TASKS
from napari_foundseg.widgets.runs.run import Run
from napari_foundseg.widgets.runs.shared_engine import engine_started

__all__ = ["EncodeAhead", "clicks"]

#: Pixels between clicks: half of the smallest model's window, as far as windows lie apart.
_STEP = 128
#: Clicks into one image: those of 2048 by 2048 pixels.
_MOST = 256
#: Milliseconds between two clicks, but so many times as long as a click took: the engine is mostly free.
_PAUSE, _SHARE = 250, 3


def clicks(shape: tuple[int, int]) -> list[tuple[float, float]]:
    """Return where to click so that windows are encoded, from the middle outwards.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the picture.

    Returns
    -------
    list of (float, float)
        Rows and columns; in a picture of up to 2048 by 2048 pixels no window is left out.
    """
    rows, columns = (np.arange(min(_STEP, n) // 2, n, _STEP) for n in shape)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    middle_first = np.abs(grid - np.array(shape) / 2).max(1).argsort(kind="stable")
    return [(float(y), float(x)) for y, x in grid[middle_first[:_MOST]]]


class EncodeAhead(QObject):
    """Clicks all over an image, one at a time, and throws the masks away: the engine keeps the encoded windows.

    A person's own click waits for one such click at most. Nothing is done before somebody has started the engine, nor
    for stacks. The windows are those of the default model, channels and contrast; with others they are of no use.
    """

    def __init__(self) -> None:
        super().__init__()
        self._image: Image | None = None
        self._points: deque[tuple[float, float]] = deque()
        self._run: Run | None = None
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._began = 0.0
        self._pause.timeout.connect(self._click)

    def begin(self, image: Image) -> None:
        """Encode an image, and no other any more.

        Parameters
        ----------
        image : Image
            As its file holds it.
        """
        self.stop()
        if image.slice_axes:
            return
        # As the layer will be: without a file, so that the pixels are with the engine, too.
        self._image = Image(image.data, image.axes, image.channels or None)
        self._points.extend(clicks(image.plane_shape))
        self._pause.start(_PAUSE)

    def stop(self) -> None:
        """Encode nothing any more."""
        self._pause.stop()
        self._points.clear()
        run, self._run, self._image = self._run, None, None
        if run is not None:
            run.cancel()

    def _click(self) -> None:
        if not engine_started():
            self._pause.start(_PAUSE)
        elif self._points and self._image is not None:
            task, model = TASKS["prompt"], models_for("prompt")[0]
            inputs = task.inputs.parse({"prompts": (Prompt(points=[self._points.popleft()]),)})
            settings = task.settings(task.method_for(model.protocols), {})
            self._run = Run("prompt", self._image, inputs, settings, model.name, replace="ahead")
            self._run.ended.connect(self._ended, Qt.ConnectionType.QueuedConnection)
            self._began = time.perf_counter()
            try:
                self._run.start()
            except FoundsegError:
                # A person is told by a run of their own.
                self.stop()

    def _ended(self, run: Run, job: Any) -> None:
        if run is not self._run:
            return
        self._run = None
        if job.state == "done":
            self._pause.start(max(_PAUSE, round(1000 * _SHARE * (time.perf_counter() - self._began))))
        else:
            self.stop()

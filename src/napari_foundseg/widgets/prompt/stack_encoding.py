"""Encoding of a whole stack in the background, and the cache that keeps it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.tasks import SIDE_TASKS
from napari_foundseg.tasks.windows.embeddings import disk_cache
from napari_foundseg.widgets.controls.rows import quiet_label, side_by_side
from napari_foundseg.widgets.runs.run import Run

__all__ = ["EncodeStack"]

_BEGIN, _STOP = "Encode all slices", "Stop encoding"


class EncodeStack(QWidget):
    """Encodes slice by slice, so that a click waits for one of them at most.

    Parameters
    ----------
    chosen : callable
        Returns the image and the model's name as the form stands.
    """

    def __init__(self, chosen: Callable[[], tuple[Image, str]]) -> None:
        super().__init__()
        self._chosen = chosen
        self._image: Image | None = None
        self._model = ""
        self._left: deque[tuple[int, ...]] = deque()
        self._run: Run | None = None
        self.button, self.clear_button = QPushButton(_BEGIN), QPushButton("Clear cache")
        self.button.setToolTip("Encode every slice now, so that no click waits for it. What is encoded is kept.")
        self.clear_button.setToolTip("Remove the encoded slices of all images from the disk.")
        self.bar, self.said = QProgressBar(), quiet_label("")
        self.bar.setVisible(False)
        self.said.setVisible(False)
        self.button.clicked.connect(self._press)
        self.clear_button.clicked.connect(self._clear)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for row in (side_by_side(self.button, self.clear_button), self.bar, self.said):
            column.addWidget(row)

    @property
    def running(self) -> bool:
        """Whether slices are being encoded."""
        return self._image is not None

    def stop(self) -> None:
        """Encode nothing more; what is encoded stays."""
        run, self._run, self._image = self._run, None, None
        self._left.clear()
        if run is not None:
            run.cancel()
        self._show("")

    def _press(self) -> None:
        if self.running:
            self.stop()
            return
        try:
            self._image, self._model = self._chosen()
        except FoundsegError as error:
            self._image = None
            self._show(str(error))
            return
        self._left.extend(self._image.indices())
        self.bar.setRange(0, len(self._left))
        self._show("")
        self._next()

    def _next(self) -> None:
        if self._image is None:
            return
        self.bar.setValue(self.bar.maximum() - len(self._left))
        if not self._left:
            count = self.bar.maximum()
            self.stop()
            self._show(f"{count} slices are encoded." if count > 1 else "The image is encoded.")
            return
        task = SIDE_TASKS["encode"]
        inputs = task.inputs.parse({"index": self._left.popleft()})
        self._run = Run("encode", self._image, inputs, task.settings("encode", {}), self._model)
        self._run.ended.connect(self._ended, Qt.ConnectionType.QueuedConnection)
        try:
            self._run.start()
        except FoundsegError as error:
            self.stop()
            self._show(str(error))

    def _ended(self, run: Run, job: Any) -> None:
        if run is not self._run:
            return
        self._run = None
        if job.state == "done":
            self._next()
        else:
            error = getattr(job, "error", None)
            self.stop()
            self._show(str(error or ""))

    def _clear(self) -> None:
        disk = disk_cache()
        freed = 0 if disk is None else disk.clear()
        self._show(f"{freed / 1e6:.0f} MB were freed.")

    def _show(self, words: str) -> None:
        self.button.setText(_STOP if self.running else _BEGIN)
        self.bar.setVisible(self.running)
        self.said.setText(words)
        self.said.setVisible(bool(words))

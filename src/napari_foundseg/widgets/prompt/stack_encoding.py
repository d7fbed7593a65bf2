"""Encoding all slices of a stack in advance."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from qtpy.QtWidgets import QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.tasks import SIDE_TASKS
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.windows.embeddings import disk_cache
from napari_foundseg.widgets.controls.rows import side_by_side, wrapping_label
from napari_foundseg.widgets.runs.run import Run
from napari_foundseg.widgets.runs.run_follower import RunFollower

__all__ = ["StackEncoding"]

_BEGIN = "Encode all slices"
_STOP = "Stop encoding"


class StackEncoding(QWidget):
    """Buttons and progress for encoding slice by slice, so that a click has to wait for at most one slice.

    Parameters
    ----------
    chosen : callable
        Returns the chosen image and the name of the chosen model; None if the model is missing.
    """

    def __init__(self, chosen: Callable[[], tuple[Image, str] | None]) -> None:
        super().__init__()
        self._chosen = chosen
        self._image: Image | None = None
        self._model = ""
        self._left: deque[tuple[int, ...]] = deque()
        self._follower = RunFollower(self)
        self._follower.done.connect(self._encode_next)
        self._follower.failed.connect(self._show_error)
        self._follower.cancelled.connect(self.stop)
        self.button, self.clear_button = QPushButton(_BEGIN), QPushButton("Clear cache")
        self.button.setToolTip(
            "Compute now what the model needs of each slice, so that clicks need not wait. It is kept on disk."
        )
        self.clear_button.setToolTip(
            "Delete what was encoded of all images from disk. Clicks wait again for the slice that they are on."
        )
        self.bar, self.said = QProgressBar(), wrapping_label("")
        self.bar.setVisible(False)
        self.said.setVisible(False)
        self.button.clicked.connect(self._toggle_encoding)
        self.clear_button.clicked.connect(self._clear_cache)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for row in (side_by_side(self.button, self.clear_button), self.bar, self.said):
            column.addWidget(row)

    @property
    def running(self) -> bool:
        """Whether slices are being encoded."""
        return self._image is not None

    def start(self) -> None:
        """Encode all slices of the chosen image."""
        try:
            chosen = self._chosen()
        except FoundsegError as error:
            self._show_text(str(error))
            return
        if chosen is None:
            return
        self._image, self._model = chosen
        self._left.extend(self._image.indices())
        self.bar.setRange(0, len(self._left))
        self._show_text("")
        self._encode_next()

    def stop(self) -> None:
        """Stop encoding; encoded slices are kept."""
        self._follower.cancel()
        self._image = None
        self._left.clear()
        self._show_text("")

    def _toggle_encoding(self) -> None:
        if self.running:
            self.stop()
        else:
            self.start()

    def _encode_next(self) -> None:
        if self._image is None:
            return
        self.bar.setValue(self.bar.maximum() - len(self._left))
        if not self._left:
            count = self.bar.maximum()
            self.stop()
            self._show_text(f"{count} slices are encoded." if count > 1 else "The image is encoded.")
            return
        task = SIDE_TASKS["encode"]
        inputs = task.inputs.parse({"index": self._left.popleft()})
        run = Run(RunRequest("encode", self._image, inputs, task.settings("encode", {}), self._model))
        try:
            self._follower.start(run)
        except FoundsegError as error:
            self._show_error(error)

    def _show_error(self, error: FoundsegError) -> None:
        self.stop()
        self._show_text(str(error))

    def _clear_cache(self) -> None:
        disk = disk_cache()
        freed = 0 if disk is None else disk.clear()
        self._show_text(f"{freed / 1e6:.0f} MB were freed.")

    def _show_text(self, words: str) -> None:
        self.button.setText(_STOP if self.running else _BEGIN)
        self.bar.setVisible(self.running)
        self.said.setText(words)
        self.said.setVisible(bool(words))

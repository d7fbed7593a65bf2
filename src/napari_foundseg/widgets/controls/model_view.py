"""A preview of the input of the model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QFormLayout, QLabel, QWidget

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.widgets.controls.fold import Fold

__all__ = ["ModelView"]

_SIDE = 270


class ModelView(Fold):
    """The current slice after selecting channels and contrast, in 8 bits.

    Parameters
    ----------
    look : callable
        Returns the image and its current slice.
    """

    def __init__(self, look: Callable[[], tuple[Image, tuple[int, ...]]], parent: QWidget | None = None) -> None:
        self.picture = QLabel()
        self.picture.setAccessibleName("Model input")
        form = QFormLayout()
        form.setContentsMargins(12, 0, 0, 0)
        form.addRow(self.picture)
        super().__init__("Model input", form, parent)
        self.button.setToolTip(
            "Preview of the current slice as the model gets it: 8-bit RGB; a grey image has three equal channels."
        )
        self._look = look
        self.button.toggled.connect(self.refresh)

    def refresh(self) -> None:
        """Update the preview if it is open."""
        if not self.button.isChecked():
            return
        try:
            image, index = self._look()
            rgb = image.rgb(index)
        except FoundsegError as error:
            self.picture.setText(str(error))
            self.picture.setWordWrap(True)
            return
        step = max(1, -(-max(rgb.shape[:2]) // _SIDE))
        small = np.ascontiguousarray(rgb[::step, ::step])
        height, width = small.shape[:2]
        shown = QImage(small.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        self.picture.setPixmap(QPixmap.fromImage(shown))

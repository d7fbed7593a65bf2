"""A small picture of what a model sees of the chosen image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QFormLayout, QLabel, QWidget

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.widgets.controls.fold import Fold

__all__ = ["SeenPreview"]

_SIDE = 270


class SeenPreview(Fold):
    """The current slice after channels, contrast and 8 bits, behind a small arrow.

    Parameters
    ----------
    look : callable
        Gives the image and its current slice.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, look: Callable[[], tuple[Image, tuple[int, ...]]], parent: QWidget | None = None) -> None:
        self.picture = QLabel()
        self.picture.setAccessibleName("What the model sees")
        form = QFormLayout()
        form.setContentsMargins(12, 0, 0, 0)
        form.addRow(self.picture)
        super().__init__("What the model sees", form, parent)
        self.button.setToolTip("The current slice as 8-bit RGB, as every model gets it; grey images in three channels.")
        self._look = look
        self.button.toggled.connect(self.refresh)

    def refresh(self) -> None:
        """Draw the picture again where it is open."""
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

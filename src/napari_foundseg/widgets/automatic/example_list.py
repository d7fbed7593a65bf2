"""The examples of *Find similar*: a picture of each, with its outline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSize, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QHBoxLayout, QListWidget, QListWidgetItem, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import FoundsegError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_foundseg.tasks.similar.examples import Example

__all__ = ["ExampleList"]

_SIDE = 56
_OUTLINE = (255, 210, 0)


class ExampleList(QWidget):
    """Pictures of the examples, buttons to add examples, and a button to remove them.

    Parameters
    ----------
    ways : dict of str to callable
        Titles of the buttons, and functions that return the examples to add.
    help_texts : dict of str to str
        A tooltip for each of these buttons.
    fail : callable
        Called with the error.
    name : str
        Accessible name of the list, for screen readers.
    removal : str
        Text of the button that removes examples.
    """

    changed = Signal()

    def __init__(
        self,
        ways: dict[str, Callable[[], list[Example]]],
        help_texts: dict[str, str],
        fail: Callable[[FoundsegError], None],
        name: str = "Examples",
        removal: str = "Remove",
    ) -> None:
        super().__init__()
        self.examples: list[Example] = []
        self._fail = fail
        self.pictures = QListWidget()
        self.pictures.setViewMode(QListWidget.ViewMode.IconMode)
        self.pictures.setIconSize(QSize(_SIDE, _SIDE))
        self.pictures.setMovement(QListWidget.Movement.Static)
        self.pictures.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.pictures.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self.pictures.setFixedHeight(_SIDE + 28)
        self.pictures.setAccessibleName(name)
        self.pictures.setToolTip("Objects that show what is meant. They may come from several images.")
        self.buttons: dict[str, QPushButton] = {}
        line = QHBoxLayout()
        for way, take in ways.items():
            button = self.buttons[way] = QPushButton(way)
            button.setToolTip(help_texts[way])
            button.clicked.connect(lambda _checked=False, take=take: self._add(take))
            line.addWidget(button)
        self.remove_button = QPushButton(removal)
        self.remove_button.setToolTip("Remove the selected examples; all of them where none is selected.")
        self.remove_button.clicked.connect(self._remove)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.pictures)
        layout.addLayout(line)
        layout.addWidget(self.remove_button)
        self._show()

    def _add(self, take: Callable[[], list[Example]]) -> None:
        try:
            known = [example.picture for example in self.examples]
            self.examples += [example for example in take() if example.picture not in known]
        except FoundsegError as error:
            self._fail(error)
            return
        self._show()
        self.changed.emit()

    def _remove(self) -> None:
        chosen = {self.pictures.row(item) for item in self.pictures.selectedItems()}
        self.examples = [one for i, one in enumerate(self.examples) if chosen and i not in chosen]
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        self.pictures.clear()
        for i, example in enumerate(self.examples, 1):
            item = QListWidgetItem(QIcon(_pixmap(_outlined(example))), "")
            item.setToolTip(f"Example {i}")
            self.pictures.addItem(item)
        self.pictures.setVisible(bool(self.examples))
        self.remove_button.setVisible(bool(self.examples))


def _outlined(example: Example) -> NDArray[np.uint8]:
    """Return the picture of an example, cut to the object and with its outline drawn."""
    from scipy import ndimage

    rgb = example.rgb.copy()
    shape = rgb.shape[:2]
    prompt = example.prompt
    mask = np.zeros(shape, bool)
    if prompt.mask is not None:
        mask = np.asarray(prompt.mask)
    elif prompt.box is not None:
        y0, x0, y1, x1 = (round(v) for v in prompt.box)
        mask[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = True
    rgb[ndimage.binary_dilation(mask) & ~mask] = _OUTLINE
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, left = max(0, rows[0] - 6), max(0, columns[0] - 6)
    return np.ascontiguousarray(rgb[top : rows[-1] + 7, left : columns[-1] + 7])


def _pixmap(rgb: NDArray[np.uint8]) -> QPixmap:
    height, width = rgb.shape[:2]
    # Qt does not copy the pixels of an image, but it copies those of a pixmap.
    return QPixmap.fromImage(QImage(rgb.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888))

"""The masks that a model proposes for a prompt, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_foundseg.core.masks import Mask

__all__ = ["Candidates"]


class Candidates(QWidget):
    """One button for each mask of a single prompt; with several prompts, the best mask of each is chosen."""

    #: The chosen masks have changed.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._offered: list[list[Mask]] = []
        self._at = 0
        self._buttons: list[QPushButton] = []
        self._line = QHBoxLayout(self)
        self._line.setContentsMargins(0, 0, 0, 0)
        self.hide()

    @property
    def masks(self) -> list[Mask]:
        """The chosen masks, one for each prompt; empty masks are left out."""
        at = self._at if len(self._offered) == 1 else 0
        return [masks[at] for masks in self._offered if masks[at].crop.size]

    def offer(self, masks: Sequence[Mask]) -> None:
        """Offer the masks of a run, best first; `Mask.label` is the number of the prompt."""
        groups: dict[int, list[Mask]] = {}
        for mask in masks:
            groups.setdefault(mask.label, []).append(mask)
        self._offered = list(groups.values())
        self._at = 0
        while (item := self._line.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        several = self._offered[0] if len(self._offered) == 1 and len(self._offered[0]) > 1 else []
        self._buttons = [self._button(i, mask, len(several)) for i, mask in enumerate(several)]
        if several:
            self._line.addWidget(QLabel("Masks"))
        for button in self._buttons:
            self._line.addWidget(button)
        self.setVisible(bool(several))
        self._show_choice()
        self.changed.emit()

    def choose(self, number: int) -> None:
        """Choose another mask of the single prompt; 0 is the best."""
        if len(self._offered) == 1 and number < len(self._offered[0]):
            self._at = number
            self._show_choice()
            self.changed.emit()

    def next(self) -> None:
        """Choose the next mask of the single prompt; after the last comes the first."""
        if len(self._offered) == 1:
            self.choose((self._at + 1) % len(self._offered[0]))

    def _button(self, number: int, mask: Mask, count: int) -> QPushButton:
        button = QPushButton()
        button.setCheckable(True)
        button.setText(f"{mask.predicted_iou:.2f}")
        button.setAccessibleName(f"Mask {number + 1} of {count}, predicted IoU {mask.predicted_iou:.2f}")
        button.setToolTip(
            f"Mask {number + 1} of {count}, {mask.area} pixels. The number is its predicted IoU, the model's estimate "
            "of its quality. Key N: next mask."
        )
        button.clicked.connect(lambda _checked=False: self.choose(number))
        return button

    def _show_choice(self) -> None:
        for i, button in enumerate(self._buttons):
            button.setChecked(i == self._at)

    def in_words(self) -> str:
        """Describe the chosen masks."""
        masks = self.masks
        if not masks:
            return "The model found no object there. Add a point or draw a box."
        if len(masks) > 1:
            return f"{len(masks)} objects"
        return f"{masks[0].area} pixels, predicted IoU {masks[0].predicted_iou:.2f}"

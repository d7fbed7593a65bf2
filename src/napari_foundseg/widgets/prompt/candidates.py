"""The masks that a model proposes for a prompt, and which of them is meant."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QHBoxLayout, QToolButton, QWidget

from napari_foundseg.core.masks import Mask

__all__ = ["Candidates"]


class Candidates(QWidget):
    """A row of buttons, one for each mask of a single prompt; of several prompts the best masks are shown."""

    #: Other masks are meant.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._offered: list[list[Mask]] = []
        self._at = 0
        self._line = QHBoxLayout(self)
        self._line.setContentsMargins(0, 0, 0, 0)
        self.hide()

    @property
    def masks(self) -> list[Mask]:
        """The masks that are meant, one for each prompt, without those that are empty."""
        at = self._at if len(self._offered) == 1 else 0
        return [masks[at] for masks in self._offered if masks[at].crop.size]

    def offer(self, masks: Sequence[Mask]) -> None:
        """Offer what a run found.

        Parameters
        ----------
        masks : sequence of Mask
            Best first; ``label`` says which prompt each is for. Empty to offer nothing.
        """
        groups: dict[int, list[Mask]] = {}
        for mask in masks:
            groups.setdefault(mask.label, []).append(mask)
        self._offered, self._at = list(groups.values()), 0
        while (item := self._line.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        several = self._offered[0] if len(self._offered) == 1 and len(self._offered[0]) > 1 else []
        for i, mask in enumerate(several):
            button = QToolButton()
            button.setText(f"{i + 1}: IoU {mask.predicted_iou:.2f}")
            button.setToolTip(
                f"Mask {i + 1} of {len(several)}, {mask.area} pixels. IoU is the model's estimate. Key N: the next."
            )
            button.clicked.connect(lambda _checked=False, i=i: self.choose(i))
            self._line.addWidget(button)
        self.setVisible(bool(several))
        self.changed.emit()

    def choose(self, number: int) -> None:
        """Mean another mask of the one prompt.

        Parameters
        ----------
        number : int
            0 for the best.
        """
        if len(self._offered) == 1 and number < len(self._offered[0]):
            self._at = number
            self.changed.emit()

    def next(self) -> None:
        """Mean the next mask of the one prompt; after the last the first."""
        if len(self._offered) == 1:
            self.choose((self._at + 1) % len(self._offered[0]))

    def in_words(self) -> str:
        """Describe the masks that are meant.

        Returns
        -------
        str
            Their number, or the size and score of the one.
        """
        masks = self.masks
        if not masks:
            return "The model found nothing there. Add a point or draw a box."
        if len(masks) > 1:
            return f"{len(masks)} objects"
        return f"{masks[0].area} pixels, predicted IoU {masks[0].predicted_iou:.2f}"

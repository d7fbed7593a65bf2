"""The choice of the model for *Split*."""

from __future__ import annotations

from qtpy.QtWidgets import QComboBox

from napari_foundseg.io.preferences import preferences
from napari_foundseg.models.store import locate
from napari_foundseg.tasks.task_models import models_for
from napari_foundseg.widgets.controls.catalogue_watch import catalogue_watch

__all__ = ["SplitModel"]

_NO_MODEL = "no model"


class SplitModel(QComboBox):
    """A choice of the promptable models whose weights are installed, and of no model."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Split with")
        self.setToolTip(
            "The model that sees where parts touch. It runs in the background; foundseg-tiny knows borders between "
            "nuclei, larger models take longer. No model: by the outline and the brightness of the image alone."
        )
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)
        self._list(preferences().default_model)
        catalogue_watch().changed.connect(self._refresh)

    @property
    def name(self) -> str:
        """The model's name; empty for none."""
        return str(self.currentData() or "")

    def choose(self, name: str) -> None:
        """Choose a model by name, or none with an empty text; a model that is not installed changes nothing."""
        at = self.findData(name)
        if at >= 0:
            self.setCurrentIndex(at)

    def _refresh(self) -> None:
        self._list(self.name)

    def _list(self, chosen: str) -> None:
        self.clear()
        for row in models_for("prompt"):
            if locate(row) is not None:
                self.addItem(row.name, row.name)
        self.addItem(_NO_MODEL, "")
        self.choose(chosen)

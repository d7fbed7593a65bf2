"""The model of a form."""

from __future__ import annotations

from typing import cast

from qtpy.QtCore import Qt
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QComboBox, QWidget

from napari_foundseg.io.preferences import preferences
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.store import locate, state
from napari_foundseg.tasks import Task
from napari_foundseg.tasks.task_models import models_for

__all__ = ["ModelChoice"]


class ModelChoice(QComboBox):
    """A choice among the models that can do a task; the data of each entry is the model's name."""

    def __init__(self, task: Task, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setToolTip("Models for this task, and whether their weights are installed.")
        self.setAccessibleName("Model")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self._task = task.name
        self.refresh()

    def refresh(self, choose: str | None = None) -> None:
        """Read the catalogue again, after a model was added to it.

        `choose`: the model to choose; by default the chosen one, else the one of the preferences, else the first whose
        weights are installed.
        """
        wanted = choose or self.currentData()
        models = models_for(self._task)
        self.blockSignals(True)
        self.clear()
        for model in models:
            self.addItem(model.name, model.name)
            self.setItemData(self.count() - 1, state(model), Qt.ItemDataRole.ToolTipRole)
            if locate(model) is None:
                # Listed all the same; its tooltip says how to install it.
                item = cast("QStandardItemModel", self.model()).item(self.count() - 1)
                if item is not None:
                    item.setEnabled(False)
        at = self.findData(wanted)
        self.setCurrentIndex(_first_choice(models) if at < 0 else at)
        self.blockSignals(False)
        self.currentIndexChanged.emit(self.currentIndex())

    def state(self) -> str:
        """Return the state of the chosen model's weights, such as ``built in, 9 MB``."""
        return str(self.currentData(Qt.ItemDataRole.ToolTipRole) or "")


def _first_choice(models: list[CatalogRow]) -> int:
    """Return the index of the preferred model, else of the first, among those whose weights are installed."""
    installed = [i for i, model in enumerate(models) if locate(model) is not None]
    preferred = [i for i in installed if models[i].name == preferences().default_model]
    return next(iter(preferred or installed), 0)

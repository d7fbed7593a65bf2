"""The model of a form."""

from __future__ import annotations

from typing import cast

from qtpy.QtCore import Qt
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QComboBox, QWidget

from napari_foundseg.models.catalog import models_for
from napari_foundseg.models.store import locate, state
from napari_foundseg.tasks import Task

__all__ = ["ModelChoice"]


class ModelChoice(QComboBox):
    """A choice among the models that can do a task; the data of each entry is the model's name.

    Parameters
    ----------
    task : Task
        The task.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, task: Task, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setToolTip("Models that can do this task, and whether they are at hand.")
        self.setAccessibleName("Model")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        models = models_for(task.name)
        for model in models:
            self.addItem(model.name, model.name)
            self.setItemData(self.count() - 1, state(model), Qt.ItemDataRole.ToolTipRole)
            if locate(model) is None:
                # Shown, so that people know of it; what it takes to have it stands in its tip.
                item = cast("QStandardItemModel", self.model()).item(self.count() - 1)
                if item is not None:
                    item.setEnabled(False)
        at_hand = (i for i, model in enumerate(models) if locate(model) is not None)
        self.setCurrentIndex(next(at_hand, 0))

    def state(self) -> str:
        """Return in words how the chosen model is at hand.

        Returns
        -------
        str
            Such as ``built in, 9 MB``.
        """
        return str(self.currentData(Qt.ItemDataRole.ToolTipRole) or "")

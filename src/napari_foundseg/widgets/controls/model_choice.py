"""The choice of a form's model."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtGui import QPalette

from napari_foundseg.io.preferences import preferences
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.downloads.size_text import size_text
from napari_foundseg.models.store import locate, state
from napari_foundseg.tasks import Task
from napari_foundseg.tasks.task_models import models_for
from napari_foundseg.widgets.controls.catalogue_watch import catalogue_watch
from napari_foundseg.widgets.controls.elided_combo import ElidedCombo

__all__ = ["GET_MODELS", "ModelChoice"]

#: The last entry.
GET_MODELS = "Get models…"


class ModelChoice(ElidedCombo):
    """A choice among the models that can do a task; the data of each entry is the model's name.

    Models that are not on this computer are listed with their size. The last entry opens the dock *Models*; it never
    becomes the chosen entry.
    """

    #: The user has chosen the entry *Get models…*.
    get_models = Signal()
    #: The chosen model is no longer in the catalogue; its name. Another model is now chosen.
    gone = Signal(str)

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.setToolTip("Models for this task, and whether their weights are installed.")
        self.setAccessibleName("Model")
        self._task = task.name
        self._chosen_by_user = False
        self._by_keys = False
        self._last = 0
        self.refresh()
        self.currentIndexChanged.connect(self._keep_choice)
        catalogue_watch().changed.connect(self.refresh)

    def refresh(self, choose: str | None = None) -> None:
        """Read the catalogue again and list its models.

        `choose` is the name of the model to choose. By default, the chosen model stays if the user chose it or its
        weights are installed. Otherwise, the preferred or the first model with installed weights is chosen.
        """
        before = (self.currentData(), self.state())
        chosen_by_user = self._chosen_by_user
        models = models_for(self._task)
        at = self._find(models, choose or self.currentData())
        gone = at is None and choose is None and bool(before[0])
        if at is None or (choose is None and not self._chosen_by_user and locate(models[at]) is None):
            at = _first_choice(models)
        self.blockSignals(True)
        self.clear()
        for model in models:
            here = locate(model) is not None
            self.addItem(model.name if here else f"{model.name} ({size_text(model.size_mb)})", model.name)
            self.setItemData(self.count() - 1, state(model), Qt.ItemDataRole.ToolTipRole)
            if not here:
                # It is listed anyway, because the form offers to download it.
                self._dim(self.count() - 1)
        self.insertSeparator(self.count())
        self.addItem(GET_MODELS, None)
        self.setItemData(self.count() - 1, "Open Models with all models for this task.", Qt.ItemDataRole.ToolTipRole)
        self.setCurrentIndex(at)
        self._last = at
        self.blockSignals(False)
        if (self.currentData(), self.state()) != before:
            self.currentIndexChanged.emit(self.currentIndex())
        self._chosen_by_user = chosen_by_user or choose is not None
        if gone:
            self.gone.emit(before[0])

    def state(self) -> str:
        """Return the state of the chosen model's weights, such as ``built in, 9 MB``."""
        return str(self.currentData(Qt.ItemDataRole.ToolTipRole) or "")

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Move through the models with keys; the last entry can only be chosen in the open list."""
        self._by_keys = True
        super().keyPressEvent(event)
        self._by_keys = False

    def wheelEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Move through the models with the mouse wheel; the last entry is not chosen."""
        self._by_keys = True
        super().wheelEvent(event)
        self._by_keys = False

    def _keep_choice(self, at: int) -> None:
        if self.itemData(at) is None:
            # Restore the model before the form handles the signal.
            self.setCurrentIndex(self._last)
            if not self._by_keys:
                QTimer.singleShot(0, self.get_models.emit)
            return
        self._last = at
        self._chosen_by_user = True

    def _find(self, models: list[CatalogRow], name: str | None) -> int | None:
        """Return the index of a model, or of the model that has replaced it; None if there is neither."""
        if not name:
            return None
        return next((i for i, model in enumerate(models) if name in (model.name, model.stands_for)), None)

    def _dim(self, at: int) -> None:
        font = self.font()
        font.setItalic(True)
        self.setItemData(at, font, Qt.ItemDataRole.FontRole)
        dimmed = self.palette().color(QPalette.ColorGroup.Disabled, QPalette.ColorRole.Text)
        self.setItemData(at, dimmed, Qt.ItemDataRole.ForegroundRole)


def _first_choice(models: list[CatalogRow]) -> int:
    """Return the index of the preferred model, or else the first, with installed weights; 0 if there is none."""
    installed = [i for i, model in enumerate(models) if locate(model) is not None]
    preferred = [i for i in installed if models[i].name == preferences().default_model]
    return next(iter(preferred or installed), 0)

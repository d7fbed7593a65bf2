"""*Which model for my image?*: three questions, and a ranked list with reasons."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QComboBox, QFormLayout, QListWidget, QListWidgetItem, QPushButton, QWidget

from napari_foundseg.models.catalog import catalog
from napari_foundseg.models.choosing.advice import FINDS, MODALITIES, SIZES, Advice, Answers, recommend_models
from napari_foundseg.models.store import locate
from napari_foundseg.tasks.task_models import tasks_for
from napari_foundseg.widgets.controls.elided_combo import ElidedCombo
from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.qt.wrapped_items import WrappedItems

__all__ = ["ModelQuestions"]

#: Greatest number of models in the list.
_LISTED = 6


class ModelQuestions(Fold):
    """Three questions, and a list of the models that fit best.

    Parameters
    ----------
    titles : mapping of str to str
        Titles of the tasks, by name.
    """

    #: The user wants to use a model: the names of the task and of the model.
    wanted = Signal(str, str)
    #: The user has selected a model in the list; its name.
    looked_at = Signal(str)

    def __init__(self, titles: Mapping[str, str], parent: QWidget | None = None) -> None:
        self._titles = titles
        self._ranked: list[Advice] = []
        self.what = _choice("What do you look for?", FINDS)
        self.how_large = _choice("How large is it?", SIZES)
        self.how_large.setCurrentIndex(1)
        self.modality = _choice("What kind of image is it?", MODALITIES)
        self.list = QListWidget()
        self.list.setAccessibleName("Models that fit, the best first")
        self.list.setItemDelegate(WrappedItems(self.list))
        self.list.setSpacing(2)
        self.list.setMinimumHeight(190)
        self.list.setToolTip("The best first, with reasons for each and what to know before using it.")
        self.use_button = QPushButton("Use this")
        self.use_button.setToolTip("Open the form of its task with this model chosen.")
        form = QFormLayout()
        form.setContentsMargins(12, 0, 0, 0)
        for text, choice in (("What", self.what), ("How large", self.how_large), ("Image", self.modality)):
            form.addRow(text, choice)
        form.addRow(self.list)
        form.addRow(self.use_button)
        super().__init__("Which model for my image?", form, parent)
        for choice in (self.what, self.how_large, self.modality):
            choice.currentIndexChanged.connect(self.refresh)
        self.button.toggled.connect(self.refresh)
        self.list.currentRowChanged.connect(self._look_at)
        self.list.itemActivated.connect(lambda _item: self._use())
        self.use_button.clicked.connect(self._use)

    @property
    def ranked(self) -> list[Advice]:
        """The listed models, the best first."""
        return self._ranked

    def refresh(self) -> None:
        """Rank the models again, if the list is open."""
        if not self.button.isChecked():
            return
        answers = Answers(*(str(choice.currentData()) for choice in (self.what, self.how_large, self.modality)))
        found = recommend_models(catalog().values(), answers, tasks_for, lambda row: locate(row) is not None)
        self._ranked = found[:_LISTED]
        self.list.blockSignals(True)
        self.list.clear()
        for number, advice in enumerate(self._ranked, 1):
            self.list.addItem(QListWidgetItem(self._words(number, advice)))
        if self._ranked:
            self.list.setCurrentRow(0)
        self.list.blockSignals(False)
        set_usable(self.use_button, "" if self._ranked else "No model of the catalogue finds this.")

    def _words(self, number: int, advice: Advice) -> str:
        text = f"{number}. {advice.row.title} in {self._titles[advice.task]}: {'; '.join(advice.reasons)}."
        return f"{text} But: {'; '.join(advice.cautions)}." if advice.cautions else text

    def _look_at(self, at: int) -> None:
        if 0 <= at < len(self._ranked):
            self.looked_at.emit(self._ranked[at].row.name)

    def _use(self) -> None:
        at = self.list.currentRow()
        if 0 <= at < len(self._ranked):
            self.wanted.emit(self._ranked[at].task, self._ranked[at].row.name)


def _choice(name: str, entries: Mapping[str, str]) -> QComboBox:
    choice = ElidedCombo(least=10)
    choice.setAccessibleName(name)
    choice.setToolTip(name)
    for key, text in entries.items():
        choice.addItem(text, key)
    return choice

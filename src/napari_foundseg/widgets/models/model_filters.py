"""The filters of the table of models: a search text, a task, and a kind of image."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QComboBox, QLineEdit, QVBoxLayout, QWidget

from napari_foundseg.models.choosing.advice import MODALITIES
from napari_foundseg.widgets.controls.elided_combo import ElidedCombo
from napari_foundseg.widgets.controls.rows import side_by_side

__all__ = ["ModelFilters"]


class ModelFilters(QWidget):
    """A search field above two combo boxes.

    Parameters
    ----------
    titles : mapping of str to str
        Titles of the tasks, by name.
    """

    #: One of the filters has changed.
    changed = Signal()

    def __init__(self, titles: Mapping[str, str]) -> None:
        super().__init__()
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search models")
        self.search.setAccessibleName("Search models")
        self.search.setToolTip(
            "Words in names, titles, what models are good for, licences; all must be found. Matching names come first."
        )
        self.search.setClearButtonEnabled(True)
        # So that files dropped here are imported by the dock, not pasted into the field.
        self.search.setAcceptDrops(False)
        self.task = _choice("Task of models", "Show only models of one task.", "All tasks", titles)
        self.image = _choice("Images of models", "Show only models for such images.", "All images", MODALITIES)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.search)
        layout.addWidget(side_by_side(self.task, self.image))
        self.search.textChanged.connect(self.changed)
        for choice in (self.task, self.image):
            choice.currentIndexChanged.connect(self.changed)

    def values(self) -> tuple[str, str, str]:
        """Return the search text, the task and the kind of image; an empty one filters nothing."""
        return self.search.text(), str(self.task.currentData() or ""), str(self.image.currentData() or "")

    def show_task(self, task: str = "") -> None:
        """Reset the filters and show the models of a task, or all models."""
        self.search.clear()
        self.image.setCurrentIndex(0)
        self.task.setCurrentIndex(max(0, self.task.findData(task)))


def _choice(name: str, tooltip: str, all_of_them: str, entries: Mapping[str, str]) -> QComboBox:
    choice = ElidedCombo(least=8)
    choice.setAccessibleName(name)
    choice.setToolTip(tooltip)
    choice.addItem(all_of_them, "")
    for key, text in entries.items():
        choice.addItem(text, key)
    return choice

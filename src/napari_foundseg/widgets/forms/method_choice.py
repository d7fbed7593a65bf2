"""The choice of a task's method, among those that the chosen model has."""

from __future__ import annotations

from collections.abc import Collection

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_foundseg.tasks import Task
from napari_foundseg.widgets.controls.rows import labelled_row

__all__ = ["MethodChoice"]


class MethodChoice(QWidget):
    """A labelled list; hidden where there is nothing to choose."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task
        self.list = QComboBox()
        self.list.setAccessibleName("Method")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(labelled_row("Method", self.list))

    @property
    def name(self) -> str:
        """Name of the chosen method, as in recipes."""
        return str(self.list.currentData() or "")

    def offer(self, protocols: Collection[str]) -> bool:
        """List the methods of a model with these protocols; return whether they are others than before."""
        usable = [name for name, protocol in self._task.protocols.items() if protocol in protocols]
        if usable == [self.list.itemData(i) for i in range(self.list.count())]:
            return False
        # No signal while the list is empty: there is no method then.
        self.list.blockSignals(True)
        self.list.clear()
        for i, name in enumerate(usable):
            self.list.addItem(self._task.methods[name].label_of("method"), name)
            self.list.setItemData(i, self._help(name), Qt.ItemDataRole.ToolTipRole)
        self.list.blockSignals(False)
        self.setVisible(len(usable) > 1)
        return True

    def show_help(self) -> None:
        """Say of the chosen method what it does."""
        self.list.setToolTip(self._help(self.name) if self.name else "")

    def _help(self, name: str) -> str:
        return (self._task.methods[name].__doc__ or "").strip()

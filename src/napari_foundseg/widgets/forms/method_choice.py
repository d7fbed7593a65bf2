"""The choice of a task's method, among those that the chosen model supports."""

from __future__ import annotations

from collections.abc import Collection

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_foundseg.tasks import Task
from napari_foundseg.widgets.controls.rows import labelled_row

__all__ = ["MethodChoice"]


class MethodChoice(QWidget):
    """A labelled combo box; hidden if there is only one method."""

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
        """Name of the chosen method, as used in recipes."""
        return str(self.list.currentData() or "")

    def offer(self, protocols: Collection[str]) -> bool:
        """List the methods for a model with these protocols; return whether the list has changed."""
        usable = [name for name, protocol in self._task.protocols.items() if protocol in protocols]
        if usable == [self.list.itemData(i) for i in range(self.list.count())]:
            return False
        # Block signals, because there is no method while the list is empty.
        self.list.blockSignals(True)
        self.list.clear()
        for i, name in enumerate(usable):
            self.list.addItem(self._task.methods[name].label_of("method"), name)
            self.list.setItemData(i, self._help(name), Qt.ItemDataRole.ToolTipRole)
        self.list.blockSignals(False)
        self.setVisible(len(usable) > 1)
        return True

    def show_help(self) -> None:
        """Show the description of the chosen method as the tooltip."""
        self.list.setToolTip(self._help(self.name) if self.name else "")

    def _help(self, name: str) -> str:
        return (self._task.methods[name].__doc__ or "").strip()

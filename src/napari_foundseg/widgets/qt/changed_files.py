"""The question before replacing a file that another window or program has changed since it was opened."""

from __future__ import annotations

from typing import Literal

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_foundseg.core.errors import ChangedError

__all__ = ["Answer", "ask_about_change"]

Answer = Literal["replace", "elsewhere", "cancel"]


def ask_about_change(parent: QWidget | None, error: ChangedError, *, elsewhere: bool = True) -> Answer:
    """Ask whether to replace a file that has changed meanwhile.

    Parameters
    ----------
    parent : QWidget or None
        A widget in the window to which the question belongs.
    error : ChangedError
        Names the file.
    elsewhere : bool
        Whether to offer *Save elsewhere…*.
    """
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle("The file has changed")
    box.setText(str(error))
    box.setInformativeText("Replace it with what is here?")
    cancel = box.addButton("Cancel", QMessageBox.ButtonRole.RejectRole)
    other = box.addButton("Save elsewhere…", QMessageBox.ButtonRole.ActionRole) if elsewhere else None
    replace = box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole)
    box.setDefaultButton(cancel)
    box.setEscapeButton(cancel)
    box.exec()
    chosen = box.clickedButton()
    box.deleteLater()
    if chosen is replace:
        return "replace"
    return "elsewhere" if other is not None and chosen is other else "cancel"

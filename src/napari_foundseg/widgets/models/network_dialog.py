"""The dialog about the inputs and outputs of a network, from an ONNX file or a bioimage.io package."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_foundseg.models.onnx_networks.description import MapDescription
from napari_foundseg.widgets.forms.settings_form import make_control, name_parts

__all__ = ["NetworkDialog"]


class NetworkDialog(QDialog):
    """A control for each fact about a network.

    Parameters
    ----------
    name : str
        Name of the model.
    description : MapDescription
        The facts that were read from the file or assumed.
    """

    def __init__(self, name: str, description: MapDescription, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Describe {name}")
        self._before = description
        self._controls: dict[str, Any] = {}
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for field, info in type(description).model_fields.items():
            text, tooltip = description.label_of(field), description.help_of(field)
            control = make_control(field, info, tooltip)
            control.value = getattr(description, field)
            name_parts(control.native, text, tooltip)
            label = QLabel(text)
            label.setToolTip(tooltip)
            form.addRow(label, control.native)
            self._controls[field] = control
        words = QLabel(
            "Its file does not say everything about its values. What is shown was read from it or assumed: "
            "correct what is different, as it was when the network was trained."
        )
        words.setWordWrap(True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(words)
        layout.addLayout(form)
        layout.addWidget(self.buttons)

    def facts(self) -> dict[str, str]:
        """Return all facts as shown, in the form that the command line accepts."""
        return {field: str(control.value) for field, control in self._controls.items()}

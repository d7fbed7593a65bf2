"""Forms generated from settings: one control per field, with its range, unit and help text."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from magicgui.widgets import create_widget
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QFormLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_foundseg.models.catalog import catalog
from napari_foundseg.models.store import locate
from napari_foundseg.tasks import Settings
from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.saved.form_memory import recall, remember

__all__ = ["SettingsForm"]

_LARGEST_INT = 2**31 - 1


class SettingsForm(QWidget):
    """The settings of one method.

    Parameters
    ----------
    key : str
        Key under which the last values are saved.
    """

    changed = Signal(str)

    def __init__(self, settings: type[Settings], key: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._key = key
        self._remembered: dict[str, Any] | None = None
        self._controls: dict[str, Any] = {}
        #: Optional numbers: the minimum of the control means None.
        self._may_be_none: set[str] = set()
        few = _form_layout()
        more = _form_layout()
        for name, field in settings.model_fields.items():
            if name != "method" and not _schema_extra(field).get("elsewhere"):
                self._add_field(more if _schema_extra(field).get("more") else few, name, field)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(few)
        if more.rowCount():
            layout.addWidget(Fold("More", more))
        self.set_values(recall(key))

    def values(self) -> dict[str, Any]:
        """Return the values of the controls."""
        return {
            name: None if name in self._may_be_none and control.value <= control.min else control.value
            for name, control in self._controls.items()
        }

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show values; those that do not fit their field are ignored."""
        for name, control in self._controls.items():
            if name in values:
                try:
                    control.value = control.min if values[name] is None else values[name]
                except (TypeError, ValueError):
                    continue

    def remember(self) -> None:
        """Save the values for the next session."""
        values = self._settings.parse(self.values()).model_dump(mode="json", exclude={"method"})
        if values != self._remembered:
            # A click must not wait for the disk.
            self._remembered = values
            remember(self._key, values)

    def live_fields(self) -> set[str]:
        """Return the fields that change a result without running the model."""
        return {name for name, field in self._settings.model_fields.items() if _schema_extra(field).get("live")}

    def _add_field(self, form: QFormLayout, name: str, field: FieldInfo) -> None:
        control = _make_control(name, field, self._settings.help_of(name))
        if _plain_type(field.annotation)[1] and hasattr(control, "min"):
            self._may_be_none.add(name)
            control.native.setSpecialValueText("automatic")
        unit = _schema_extra(field).get("unit")
        control.changed.connect(lambda _value, name=name: self.changed.emit(name))
        text = self._settings.label_of(name)
        control.native.setAccessibleName(text)
        control.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._controls[name] = control
        label = QLabel(f"{text} ({unit})" if unit else text)
        label.setToolTip(control.tooltip)
        label.setBuddy(control.native)
        label.setWordWrap(True)
        if control.widget_type == "FloatSlider":
            # A slider needs the whole width for fine control: its label is above it.
            form.addRow(label)
            form.addRow(control.native)
        else:
            form.addRow(label, control.native)


def _form_layout() -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
    return form


def _make_control(name: str, field: FieldInfo, tooltip: str) -> Any:
    kind, nullable = _plain_type(field.annotation)
    options: dict[str, Any] = {"tooltip": tooltip}
    if protocol := _schema_extra(field).get("model"):
        options |= {"choices": _model_choices(str(protocol)), "widget_type": "ComboBox"}
    elif get_origin(kind) is Literal:
        options |= {"choices": list(get_args(kind)), "widget_type": "ComboBox", "nullable": nullable}
    elif kind is bool:
        # The label is in the form's first column.
        options["text"] = " "
    elif kind in (int, float):
        options |= _number_bounds(kind, field)
        if nullable:
            options["min"] = 0
        if "step" in (extra := _schema_extra(field)):
            options["step"] = extra["step"]
        if kind is float and extra.get("live") and options["max"] < _LARGEST_INT:
            options["widget_type"] = "FloatSlider"
    default = 0 if field.default is None and kind in (int, float) else field.default
    return create_widget(value=default, annotation=kind, name=name, options=options)


def _model_choices(protocol: str) -> list[tuple[str, str]]:
    """Return an entry for none, and the installed models that have a protocol."""
    rows = [row for row in catalog().values() if protocol in row.protocols and locate(row) is not None]
    return [("none", ""), *((row.name, row.name) for row in rows)]


def _plain_type(annotation: Any) -> tuple[Any, bool]:
    """Return the type without Optional, and whether None is allowed."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return annotation, False


def _number_bounds(kind: type, field: FieldInfo) -> dict[str, Any]:
    step = 1 if kind is int else 1e-6
    bounds: dict[str, Any] = {"min": -_LARGEST_INT, "max": _LARGEST_INT}
    for rule in field.metadata:
        if isinstance(rule, Ge):
            bounds["min"] = rule.ge
        elif isinstance(rule, Gt):
            bounds["min"] = rule.gt + step  # type: ignore[operator] # bounds of numbers are numbers
        elif isinstance(rule, Le):
            bounds["max"] = rule.le
        elif isinstance(rule, Lt):
            bounds["max"] = rule.lt - step  # type: ignore[operator]
    return bounds


def _schema_extra(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}

"""Forms generated from settings classes: one control for each field, with its range, unit and help text."""

from __future__ import annotations

import types
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from magicgui.widgets import create_widget
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QAbstractSpinBox, QFormLayout, QLabel, QSizePolicy, QSlider, QVBoxLayout, QWidget

from napari_foundseg.core.errors import SettingsError
from napari_foundseg.models.catalog import catalog
from napari_foundseg.models.store import locate
from napari_foundseg.tasks import Settings
from napari_foundseg.widgets.controls.catalogue_watch import catalogue_watch
from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.saved.form_memory import recall, remember

__all__ = ["SettingsForm", "make_control", "name_parts"]

_LARGEST_INT = 2**31 - 1
#: Greatest value of a number field; longer numbers would not fit into a narrow form.
_LARGEST_FLOAT = 999_999.0


class SettingsForm(QWidget):
    """The controls for the settings of one method.

    Parameters
    ----------
    key : str
        Key under which the user's values are saved.
    more_title : str
        Title of the fold with the rarely needed settings.
    """

    changed = Signal(str)

    def __init__(
        self, settings: type[Settings], key: str, parent: QWidget | None = None, *, more_title: str = "More"
    ) -> None:
        super().__init__(parent)
        self._settings = settings
        self._key = key
        self._remembered: dict[str, Any] | None = None
        #: Defaults of the chosen model that replace those of the method.
        self._defaults: dict[str, Any] = {}
        #: Settings that the user has changed; choosing another model does not change them.
        self._own: set[str] = set()
        self._controls: dict[str, Any] = {}
        #: Optional numbers, for which the minimum of the control means None.
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
            layout.addWidget(Fold(more_title, more))
        self._recall(recall(key))
        catalogue_watch().changed.connect(self._list_models)

    def values(self) -> dict[str, Any]:
        """Return the values of the controls."""
        return {name: self._value(name) for name in self._controls}

    def _value(self, name: str) -> Any:
        control = self._controls[name]
        if name in self._may_be_none and control.value <= control.min:
            return None
        kind = _plain_type(self._settings.model_fields[name].annotation)[0]
        return int(control.value) if kind is int else control.value

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show values as if the user had set them; values that do not fit their field are ignored."""
        for name in self._controls.keys() & values.keys():
            self._own.add(name)
            self._show(name, values[name])

    def use_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Show the defaults of a model, or else of the method; settings that the user has changed stay."""
        self._defaults = {name: value for name, value in defaults.items() if name in self._controls}
        for name in self._controls.keys() - self._own:
            # Block the signal, so that the old model's result is not computed again.
            with self._controls[name].changed.blocked():
                self._show(name, self._defaults.get(name, self._settings.model_fields[name].default))

    def defaults_in_words(self) -> str:
        """List the model's own defaults that are shown, such as ``minimum area 0``; empty if there are none."""
        shown = [(name, value) for name, value in self._defaults.items() if name not in self._own]
        return ", ".join(f"{self._settings.label_of(name).lower()} {value}" for name, value in shown)

    def _show(self, name: str, value: Any) -> None:
        control = self._controls[name]
        with suppress(TypeError, ValueError):
            control.value = control.min if value is None and name in self._may_be_none else value

    def _recall(self, values: Mapping[str, Any]) -> None:
        fields = self._settings.model_fields
        defaults = {name: field.default for name, field in fields.items()}
        then = {name: extra["absent"] for name, field in fields.items() if "absent" in (extra := _schema_extra(field))}
        values = {name: value for name, value in values.items() if name in fields}
        with suppress(SettingsError):
            # Convert values of an earlier version, such as a switch that has become a choice.
            parsed = self._settings.of_record(values).model_dump(mode="json")
            values = {name: parsed[name] for name in values}
        # A file of an earlier version holds all settings, not only those that the user has changed.
        whole = self._controls.keys() <= values.keys() | then.keys()
        self.set_values(
            {n: v for n, v in values.items() if not whole or v not in (defaults[n], then.get(n, defaults[n]))}
        )

    def remember(self) -> None:
        """Save the values that the user has changed, for the next session."""
        values = self._settings.parse(self.values()).model_dump(mode="json", include=self._own)
        if values != self._remembered:
            # Unchanged values are not saved again, so that a click does not wait for the disk.
            self._remembered = values
            remember(self._key, values)

    def _list_models(self) -> None:
        """Read the catalogue again for settings that name a model."""
        for name, control in self._controls.items():
            if _schema_extra(self._settings.model_fields[name]).get("model"):
                with control.changed.blocked():
                    control.reset_choices()

    def _change(self, name: str) -> None:
        self._own.add(name)
        self.changed.emit(name)

    def set_usable(self, name: str, why_not: str) -> None:
        """Enable a field's control, or disable it if `why_not` gives a reason; unknown names are ignored."""
        if name in self._controls:
            set_usable(self._controls[name].native, why_not)

    def live_fields(self) -> set[str]:
        """Return the fields that change a result without running the model again."""
        return self._settings.live_fields()

    def _add_field(self, form: QFormLayout, name: str, field: FieldInfo) -> None:
        control = make_control(name, field, self._settings.help_of(name))
        if _plain_type(field.annotation)[1] and hasattr(control, "min"):
            self._may_be_none.add(name)
            control.native.setSpecialValueText("automatic")
            if _plain_type(field.annotation)[0] is int:
                control.native.setDecimals(0)
        unit = _schema_extra(field).get("unit")
        control.changed.connect(lambda _value, name=name: self._change(name))
        text = self._settings.label_of(name)
        name_parts(control.native, text, control.tooltip)
        control.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._controls[name] = control
        if _schema_extra(field).get("beside"):
            control.native.setParent(self)
            control.native.hide()
            return
        label = QLabel(f"{text} ({unit})" if unit else text)
        label.setToolTip(control.tooltip)
        label.setBuddy(control.native.findChild(QSlider) or control.native)
        label.setWordWrap(True)
        if control.widget_type == "FloatSlider":
            # A slider needs the whole width for fine control, so its label is above it.
            form.addRow(label)
            form.addRow(control.native)
        else:
            form.addRow(label, control.native)


def name_parts(native: QWidget, name: str, help_text: str) -> None:
    """Name a control for screen readers, including a slider and the field with its value."""
    native.setAccessibleName(name)
    for part in native.findChildren(QWidget):
        if isinstance(part, QSlider | QAbstractSpinBox):
            part.setAccessibleName(name)
            part.setToolTip(help_text)


def _form_layout() -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    return form


def make_control(name: str, field: FieldInfo, tooltip: str) -> Any:
    """Return a magicgui control for a field."""
    kind, nullable = _plain_type(field.annotation)
    options: dict[str, Any] = {"tooltip": tooltip}
    if protocol := _schema_extra(field).get("model"):
        options |= {"choices": lambda _control: _model_choices(str(protocol)), "widget_type": "ComboBox"}
    elif get_origin(kind) is Literal:
        options |= {"choices": list(get_args(kind)), "widget_type": "ComboBox", "nullable": nullable}
    elif kind is bool:
        # The label is in the form's first column.
        options["text"] = " "
    elif kind in (int, float):
        options |= _number_bounds(kind, field)
        if nullable:
            options["min"] = 0
        if nullable and kind is int:
            # magicgui's integer field cannot show the text "automatic".
            options |= {"widget_type": "FloatSpinBox", "step": 1, "max": min(options["max"], 99_999_999)}
        if "step" in (extra := _schema_extra(field)):
            options["step"] = extra["step"]
        if kind is float and extra.get("live") and options["max"] < _LARGEST_FLOAT:
            options["widget_type"] = "FloatSlider"
    default = 0 if field.default is None and kind in (int, float) else field.default
    return create_widget(value=default, annotation=kind, name=name, options=options)


def _model_choices(protocol: str) -> list[tuple[str, str]]:
    """Return an entry for no model, and the installed models that have a protocol."""
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
    largest = _LARGEST_INT if kind is int else _LARGEST_FLOAT
    bounds: dict[str, Any] = {"min": -largest, "max": largest}
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

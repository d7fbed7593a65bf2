"""All forms: names and tooltips of controls, widths, and what can be used without a layer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QSlider,
    QWidget,
)

from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.menu import dock_entries, open_dock

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]

FORMS = [entry.name for entry in dock_entries()]
TASKS = [name for name in FORMS if name not in ("correct", "objects", "worklist", "batch", "recover", "models")]
#: Width in pixels of the page of a dock of 320 pixels, beside its scroll bar.
WIDTH = 305
CONTROLS = (
    QAbstractButton, QAbstractItemView, QSlider, QAbstractSpinBox, QComboBox, QLineEdit, QPlainTextEdit,
)  # fmt: skip


def open_form(viewer: Any, name: str) -> Any:
    """Open a form as the menu does, with all folds open, as wide as a dock of 320 pixels."""
    form = open_dock(viewer, name)
    for fold in form.findChildren(Fold):
        fold.button.setChecked(True)
    page = form.widget()
    form.takeWidget()
    form.setWidget(page)
    form.setWidgetResizable(False)
    page.resize(WIDTH, max(page.heightForWidth(WIDTH), page.sizeHint().height(), 600))
    page.show()
    QApplication.processEvents()
    return form


def add_layers(viewer: Any) -> None:
    labels = np.zeros((32, 32), np.uint16)
    labels[4:12, 4:12] = 1
    viewer.add_image(np.arange(1024, dtype=np.uint16).reshape(32, 32), name="cells")
    viewer.add_labels(labels, name="nuclei")


def shown(form: Any, kinds: Any) -> list[Any]:
    return [widget for widget in form.widget().findChildren(QWidget) if isinstance(widget, kinds) and seen(widget)]


def seen(widget: QWidget) -> bool:
    """Whether a widget is a control of the form, and none that Qt made inside another control."""
    inner = widget.objectName().startswith("qt_") or isinstance(widget.parent(), QAbstractSpinBox | QComboBox)
    table = isinstance(widget.parent(), QAbstractItemView)
    return widget.isVisible() and not inner and not table


def text_of(widget: Any) -> str:
    return widget.text().strip() if isinstance(widget, QAbstractButton | QLabel) else ""


@pytest.mark.parametrize("layers", [True, False], ids=["with layers", "without layers"])
@pytest.mark.parametrize("name", FORMS)
def test_every_control_has_a_name_and_a_tooltip_and_is_whole(viewer: Any, engine: Any, name: str, layers: bool) -> None:
    if layers:
        add_layers(viewer)
    form = open_form(viewer, name)
    labels = shown(form, QLabel)
    for control in shown(form, CONTROLS):
        named = control.accessibleName() or text_of(control) or any(label.buddy() is control for label in labels)
        about = f"{type(control).__name__} {control.accessibleName() or text_of(control)!r}"
        assert named, f"{about} has no name: {control.toolTip()}"
        assert control.toolTip(), f"{about} has no tooltip"
        # Fields for text may scroll.
        wanted = 0 if isinstance(control, QLineEdit | QPlainTextEdit | QAbstractItemView | QSlider) else None
        least = control.sizeHint().width() if wanted is None else wanted
        assert control.width() >= least, f"{about} is {control.width()} pixels wide and needs {least}"


@pytest.mark.parametrize("name", FORMS)
def test_no_two_controls_of_a_form_have_the_same_words(viewer: Any, engine: Any, name: str) -> None:
    add_layers(viewer)
    form = open_form(viewer, name)
    words = Counter(text for widget in shown(form, QAbstractButton | QLabel) if (text := text_of(widget)))
    assert not [text for text, count in words.items() if count > 1]


@pytest.mark.parametrize("name", [*(name for name in TASKS if name != "track"), "correct", "objects"])
def test_without_a_layer_nothing_can_be_pressed_and_the_form_says_why(
    qtbot: Any, viewer: Any, engine: Any, name: str
) -> None:
    form = open_form(viewer, name)
    assert form.image.combo.placeholderText() == "Open an image first"
    assert form.image.combo.currentIndex() == -1
    main = form.run_button if name in TASKS else form.edits.undo_button
    check_unusable(form, main)
    add_layers(viewer)
    if name in TASKS:
        assert main.isEnabled()
        assert "There is no" not in main.toolTip()
        assert not form.messages["image"].isVisible()
    else:
        assert all(tool.isEnabled() for tool in form.tools())
        assert not any(tool.toolTip().startswith("There is no") for tool in form.tools())
    viewer.layers.clear()
    check_unusable(form, main)


def check_unusable(form: Any, main: Any) -> None:
    assert not main.isEnabled()
    if main is getattr(form, "run_button", None):
        assert "There is no image layer" in main.toolTip()
        assert "Open an image" in form.messages["image"].text()
        assert form.messages["image"].isVisible()
    else:
        assert form.state.text() == "Add or select a Labels layer."
        for tool in form.tools():
            assert not tool.isEnabled()
            assert tool.toolTip().startswith("There is no Labels layer")


def test_names_that_are_cut_are_seen_to_be_cut_and_are_read_in_the_tooltip(viewer: Any, engine: Any) -> None:
    viewer.add_image(np.zeros((32, 32)), name="short")
    form = open_form(viewer, "semantic")
    assert form.image.combo.shown_text == "short"
    assert form.image.combo.tip == form.image.combo.toolTip()
    name = "2024-03-05_patient_0042_series_7_fluorescence_DAPI_63x_oil"
    viewer.add_image(np.zeros((32, 32)), name=name)
    for combo, whole in ((form.image.combo, name), (form.model, form.model.currentText())):
        assert combo.currentText() == whole
        assert "…" in combo.shown_text
        assert combo.fontMetrics().horizontalAdvance(combo.shown_text) < combo.width()
        assert combo.tip.startswith(whole)
        assert combo.toolTip() in combo.tip


def test_all_sliders_look_alike(viewer: Any, engine: Any) -> None:
    add_layers(viewer)
    looks = set()
    for name in TASKS:
        form = open_form(viewer, name)
        for slider in shown(form, QSlider):
            if slider.orientation() == Qt.Orientation.Horizontal:
                value = next(box for box in slider.parentWidget().findChildren(QAbstractSpinBox))
                looks.add((value.buttonSymbols(), value.styleSheet().replace(" ", "").rstrip(";")))
                assert value.accessibleName() == slider.accessibleName()
    assert len(looks) == 1

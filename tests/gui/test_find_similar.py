"""*Find similar* by clicks, with the real engine and the shipped model."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMainWindow

from napari_foundseg.io.journal import journal_folder, kept_journals
from napari_foundseg.widgets.automatic.find_similar_dock import FindSimilarWidget
from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from tests.support.mouse import choose
from tests.tasks.test_find_similar import matched, scene

pytestmark = pytest.mark.gui


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def docked(qtbot: Any, viewer: Any, kind: type) -> Any:
    found: list[Any] = []

    def opened() -> bool:
        window: QMainWindow = viewer.window._qt_window
        found[:] = [form for form in window.findChildren(kind) if form.isVisible()]
        return bool(found)

    qtbot.waitUntil(opened)
    return found[0]


def said(form: FindSimilarWidget) -> str:
    return "".join(message.text() for message in form.messages.values())


def test_a_label_and_a_box_are_examples_and_all_like_them_become_a_layer(qtbot: Any, viewer: Any) -> None:
    image, truth = scene()
    layer = viewer.add_image(image, name="cells")
    labels = viewer.add_labels((truth == 2).astype(np.uint16) * 5, name="mine")
    labels.selected_label = 5
    choose(qtbot, viewer, "Plugins", "FoundSeg", "Find similar (FoundSeg)")
    form = docked(qtbot, viewer, FindSimilarWidget)
    click(qtbot, form.run_button)
    assert "There is no example" in said(form)

    viewer.layers.selection.active = labels
    click(qtbot, form.examples.buttons["Add label"])
    assert len(form.examples.examples) == 1
    click(qtbot, form.examples.buttons["Add label"])
    assert len(form.examples.examples) == 1, "the same object counts once"
    shapes = viewer.add_shapes([np.array([[26, 27], [26, 54], [53, 54], [53, 27]])], name="boxes")
    viewer.layers.selection.active = shapes
    click(qtbot, form.examples.buttons["Add box"])
    assert form.examples.pictures.count() == 2
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: form.current is None, timeout=120_000)
    assert not said(form)
    result = viewer.layers["cells similar"]
    assert matched(result.data, truth) == [1, 2, 3, 4, 5, 6]
    assert (layer.data == image).all()
    qtbot.waitUntil(lambda: "cells similar" in {kept.header.layer for kept in kept_journals(journal_folder())})
    if folder := os.environ.get("FOUNDSEG_SHOTS"):
        viewer.window._qt_window.grab().save(f"{folder}/find_similar.png")

    click(qtbot, form.review_button)
    correct = docked(qtbot, viewer, CorrectWidget)
    qtbot.waitUntil(lambda: correct.history is not None and correct.history.layer is result)


def test_what_is_missing_is_said_and_nothing_is_lost(qtbot: Any, viewer: Any, engine: Any) -> None:
    image, truth = scene()
    viewer.add_image(image, name="cells")
    form = FindSimilarWidget(viewer)
    viewer.window.add_dock_widget(form)
    click(qtbot, form.examples.buttons["Add label"])
    assert "No Labels layer is selected" in said(form)
    labels = viewer.add_labels(truth[:50], name="small")
    viewer.layers.selection.active = labels
    click(qtbot, form.examples.buttons["Add label"])
    assert "'small' cannot give an example" in said(form)
    whole = viewer.add_labels(truth, name="whole")
    whole.selected_label = 99
    viewer.layers.selection.active = whole
    click(qtbot, form.examples.buttons["Add label"])
    assert "Label 99" in said(form)
    assert not form.examples.examples
    whole.selected_label = 3
    click(qtbot, form.examples.buttons["Add label"])
    assert not said(form)
    whole.selected_label = 5
    click(qtbot, form.negatives.buttons["Exclude label"])
    assert [len(shown.examples) for shown in (form.examples, form.negatives)] == [1, 1]
    given = form.inputs(form.chosen_target())
    assert given.negatives[0].picture == form.negatives.examples[0].picture != given.examples[0].picture
    click(qtbot, form.examples.remove_button)
    assert not form.examples.examples

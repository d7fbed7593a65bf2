"""*Text* by boxes in a real window, with the real engine: a caption, boxes that are changed by hand, then masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.models.importing import import_model
from napari_foundseg.widgets.classes.text_dock import TextWidget
from tests.support.tiny_checkpoints import write
from tests.tasks.test_find_similar import PLACES, scene

pytestmark = pytest.mark.gui

_LONG = 120_000
CAPTION = "two syringes and a small vial of vaccine"
PHRASES = ["two syringes", "a small vial of vaccine"]


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def said(form: TextWidget) -> str:
    return "".join(message.text() for message in form.messages.values())


def around(place: tuple[int, int]) -> np.ndarray:
    """Return the rectangle around a disc, as a user draws it."""
    y, x = place
    return np.array([[y - 13, x - 13], [y - 13, x + 13], [y + 13, x + 13], [y + 13, x - 13]], float)


@pytest.fixture
def form(viewer: Any, tmp_path: Path) -> TextWidget:
    import_model(write("Owlv2ForObjectDetection", tmp_path / "owl-small"))
    viewer.add_image(scene()[0], name="cells")
    made = TextWidget(viewer)
    viewer.window.add_dock_widget(made, name="Text")
    made.model.setCurrentIndex(made.model.findData("owl-small"))
    return made


def test_a_caption_becomes_boxes_and_changed_boxes_become_masks(qtbot: Any, viewer: Any, form: TextWidget) -> None:
    assert form.method_name == "boxes"
    assert form.concepts.rows[0].threshold.value == pytest.approx(0.1), "the model's own threshold"
    form.caption.text.setText("两个注射器")
    click(qtbot, form.caption.button)
    assert "English captions only" in said(form)
    form.caption.text.clear()
    qtbot.keyClicks(form.caption.text, CAPTION)
    click(qtbot, form.caption.button)
    assert not said(form)
    assert [row.text.text() for row in form.concepts.rows] == PHRASES

    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: form.boxes is not None, timeout=_LONG)
    assert not said(form)
    layer = viewer.layers["cells boxes"]
    count = len(layer.data)
    assert set(layer.features["concept"]) <= set(PHRASES)
    assert form.result.text().startswith(f"{count} boxes: ")
    words = form.caption.shown.text()
    assert "two syringes (" in words, "the words have the number of their boxes"
    assert "a small vial of vaccine (" in words

    for row in form.concepts.rows:
        row.threshold.value = 0.6
    assert 0 < len(layer.data) < count, "the threshold acts at once"
    assert (layer.features["score"] > 0.6).all()
    assert form.current is None

    layer.selected_data = set(range(1, len(layer.data)))
    layer.remove_selected()
    layer.data = [around(PLACES[0])]
    form.box_concept.setCurrentText(PHRASES[1])
    form.box_concept.activated.emit(1)
    layer.add_rectangles(around(PLACES[3]))
    first = str(layer.features["concept"][0])
    assert list(layer.features["concept"]) == [first, PHRASES[1]]
    if folder := os.environ.get("FOUNDSEG_SHOTS"):
        viewer.window._qt_window.grab().save(f"{folder}/boxes.png")
    for row in form.concepts.rows:
        row.threshold.value = 0.3
    assert "changed by hand" in form.result.text()
    assert len(layer.data) == 2, "what the user has changed stays"

    click(qtbot, form.make_masks_button)
    qtbot.waitUntil(lambda: "cells objects" in viewer.layers, timeout=_LONG)
    assert not said(form)
    objects = viewer.layers["cells objects"]
    truth = scene()[1]
    names = dict(zip(objects.features["index"], objects.features["class_name"], strict=True))
    for place, name in ((PLACES[0], first), (PLACES[3], PHRASES[1])):
        here = truth == truth[place]
        ids = np.unique(objects.data[here])
        assert np.count_nonzero((objects.data > 0) & here) > 0.8 * np.count_nonzero(here)
        assert names[int(ids.max())] == name
    assert [form.legend.table.item(i, 0).text() for i in range(2)] == PHRASES
    record = form.last_run.record.request
    assert [box.concept for box in record.inputs.boxes] == [first, PHRASES[1]]
    assert record.settings.masks
    if folder := os.environ.get("FOUNDSEG_SHOTS"):
        viewer.window._qt_window.grab().save(f"{folder}/boxes_masks.png")

    viewer.layers.remove("cells boxes")
    assert form.box_rows.isHidden()
    viewer.layers.remove("cells objects")
    form.boxes_first.setChecked(False)
    form.concepts.rows[0].threshold.value = 0.9
    form.concepts.rows[1].threshold.value = 0.9
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "cells objects" in viewer.layers, timeout=_LONG)
    assert "cells boxes" not in viewer.layers, "masks are made at once"

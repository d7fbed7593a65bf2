from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.core.editing.difference import Difference
from napari_foundseg.core.editing.history import EditStep
from napari_foundseg.core.image import Image
from napari_foundseg.io.journal import Header, Journal, journal_folder, kept_journals
from napari_foundseg.widgets.editing.labels_history import LabelsHistory
from napari_foundseg.widgets.layers.object_features import read_facts
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.waits import wait_for_numpy_thread

pytestmark = pytest.mark.gui


def interrupted(image: Image, labels: np.ndarray[Any, Any]) -> Path:
    """Leave a journal as a process does that was killed."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    header = Header(image.fingerprint(), "foundseg objects", labels.shape, None, "2020-01-01T10:00:00", process.pid)
    saved: list[float] = []
    journal = Journal(journal_folder(), header, saved.append, lambda _: None)
    part = Difference.between((0, 0), np.zeros_like(labels), labels)
    assert part is not None
    journal.add(EditStep("accept", (part,), known_after={1: {"review": "accepted", "note": "round"}}))
    journal.close()
    path = journal.path
    path.write_bytes(path.read_bytes()[:-8])  # without the mark of an orderly end
    return path


def test_interrupted_work_is_offered_shown_and_taken_up(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    path = interrupted(Image(scene.image), scene.automatic.labels)
    layer = viewer.add_image(scene.image, name="cells", scale=(2, 2))
    form = PromptWidget(viewer)
    viewer.window.add_dock_widget(form)
    qtbot.waitUntil(form.recovery.isVisible)
    assert "(1 step)" in form.recovery.words.text()
    qtbot.mouseClick(form.recovery.show_button, Qt.MouseButton.LeftButton)
    preview = viewer.layers["foundseg recovery (preview)"]
    np.testing.assert_array_equal(preview.data, scene.automatic.labels)
    np.testing.assert_allclose(preview.scale, layer.scale)
    qtbot.mouseClick(form.recovery.keep_button, Qt.MouseButton.LeftButton)
    assert preview not in viewer.layers
    objects = viewer.layers["foundseg objects"]
    np.testing.assert_array_equal(objects.data, scene.automatic.labels)
    assert read_facts(objects) == {1: {"review": "accepted", "note": "round"}}
    qtbot.waitUntil(lambda: "kept for recovery" in form.edits.state.text())
    lost = {kept.path: kept.lost for kept in kept_journals(journal_folder())}
    assert lost[path] is False
    assert len(lost) == 2


def test_work_that_was_put_aside_is_not_offered_again(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    interrupted(Image(scene.image), scene.automatic.labels)
    viewer.add_image(scene.image)
    form = PromptWidget(viewer)
    viewer.window.add_dock_widget(form)
    qtbot.waitUntil(form.recovery.isVisible)
    qtbot.mouseClick(form.recovery.discard_button, Qt.MouseButton.LeftButton)
    assert not form.recovery.isVisible()
    again = PromptWidget(viewer)
    viewer.window.add_dock_widget(again)
    wait_for_numpy_thread(qtbot)
    assert not again.recovery.isVisible()
    assert len(viewer.layers) == 1


def test_work_on_an_image_that_is_not_open_is_recovered_with_a_word_about_it(
    qtbot: Any, viewer: Any, engine: Any, scene: Any
) -> None:
    interrupted(Image(scene.image), scene.automatic.labels)
    viewer.add_image(scene.image + 1)
    form = PromptWidget(viewer)
    viewer.window.add_dock_widget(form)
    qtbot.waitUntil(form.recovery.isVisible)
    qtbot.mouseClick(form.recovery.keep_button, Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(viewer.layers["foundseg objects"].data, scene.automatic.labels)
    assert "Its image is not open" in form.recovery.message.text()


def test_strokes_and_writes_share_one_undo_by_key(viewer: Any, canvas: Any) -> None:
    layer = viewer.add_labels(np.zeros((40, 50), np.uint16))
    history = LabelsHistory(layer, Image(np.zeros((40, 50), np.uint8)))
    states = [layer.data.copy()]
    history.write("accept", [((slice(3, 9), slice(4, 12)), np.full((6, 8), 7, np.uint16))])
    states.append(layer.data.copy())
    with layer.block_history():
        for x in range(10, 30, 4):
            layer.paint((20, x), 3)
    states.append(layer.data.copy())
    layer.data = np.where(layer.data == 7, 0, layer.data)  # by another plugin
    states.append(layer.data.copy())
    viewer.layers.selection.active = layer
    control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    for state in reversed(states[:-1]):
        canvas.key(Qt.Key.Key_Z, control)
        np.testing.assert_array_equal(layer.data, state)
    canvas.key(Qt.Key.Key_Z, control)
    np.testing.assert_array_equal(layer.data, states[0])
    for state in states[1:]:
        canvas.key(Qt.Key.Key_Z, control | shift)
        np.testing.assert_array_equal(layer.data, state)
    history.release()
    assert not layer.keymap


def test_a_folder_that_cannot_be_written_is_said_loudly(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    monkeypatch.setenv("FOUNDSEG_CACHE", str(blocked))
    engine.answer = lambda _: scene.prompted
    viewer.add_image(scene.image)
    form = PromptWidget(viewer)
    viewer.window.add_dock_widget(form)
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    form.session.points.add([(40, 50)])
    qtbot.waitUntil(form.accept_button.isEnabled)
    qtbot.mouseClick(form.accept_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(form.edits.message.isVisible)
    assert "could not be kept for recovery" in form.edits.message.text()
    assert form.edits.state.text() == "not kept for recovery, not saved yet"
    assert viewer.layers["foundseg objects"].data.max() == 1

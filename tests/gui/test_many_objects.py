"""*Correct* with many objects: computed in a background thread, one write and one step, with progress and *Cancel*."""

from __future__ import annotations

import gc
import sys
import threading
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QObject, Qt, QTimer

from napari_foundseg.widgets.editing import labels_journal
from napari_foundseg.widgets.objects import labels_dock, measurements
from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]

COUNT = 400


@pytest.fixture
def form(viewer: Any, engine: Any, qtbot: Any) -> CorrectWidget:
    cell = np.zeros((16, 16), np.int64)
    cell[4:12, 4:12] = 1
    cell[7, 7] = 0
    labels = np.kron(np.arange(1, COUNT + 1).reshape(20, 20), cell).astype(np.uint16)
    viewer.add_labels(labels, name="objects", features={"index": range(1, COUNT + 1), "area": [63] * COUNT})
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Correct")
    widget.choose(list(range(1, COUNT + 1)))
    return widget


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.mark.parametrize("tool", ["Grow", "Shrink", "Smooth", "Fill holes", "Keep largest", "Merge", "Delete"])
def test_an_edit_of_many_objects_is_one_write_and_one_step(qtbot: Any, form: CorrectWidget, tool: str) -> None:
    layer = form.layer
    layer.data[0, 0] = 5 if tool == "Keep largest" else 0
    before = layer.data.copy()
    drawn: list[Any] = []
    # The whole slice, or where few pixels change these alone.
    for event in (layer.events.set_data, layer.events.labels_update):
        event.connect(lambda _event: drawn.append(True))
    click(qtbot, form.buttons[tool])
    np.testing.assert_array_equal(layer.data, before)
    assert form.running.isVisible()
    assert not form.buttons["Grow"].isEnabled()
    qtbot.waitUntil(lambda: not form.running.isVisible())
    after = layer.data.copy()
    assert (after != before).any()
    assert len(drawn) == 1, "one write, one redraw"
    assert form.buttons["Grow"].isEnabled()
    if tool == "Grow":
        assert int(layer.features.set_index("index")["area"][7]) == 96
    click(qtbot, form.edits.undo_button)
    np.testing.assert_array_equal(layer.data, before)
    click(qtbot, form.edits.redo_button)
    np.testing.assert_array_equal(layer.data, after)


@pytest.mark.parametrize("tool", ["Grow", "Fill holes", "Delete"])
def test_an_object_of_a_large_layer_is_drawn_without_the_rest(qtbot: Any, viewer: Any, engine: Any, tool: str) -> None:
    labels = np.zeros((1100, 1000), np.uint16)
    labels[500:520, 600:620] = 3
    labels[508:512, 608:612] = 0
    labels[0:8, 0:8] = 4
    layer = viewer.add_labels(labels, name="objects")
    form = CorrectWidget(viewer)
    viewer.window.add_dock_widget(form, name="Correct")
    form.choose([3])
    before = labels.copy()
    whole: list[Any] = []
    parts: list[Any] = []
    layer.events.set_data.connect(lambda _event: whole.append(True))
    layer.events.labels_update.connect(lambda event: parts.append(event.data.shape))
    click(qtbot, form.buttons[tool])
    qtbot.waitUntil(lambda: form.history.undo_name == tool.lower() and not form.running.isVisible())
    assert (layer.data != before).any()
    assert whole == []
    assert len(parts) == 1
    assert max(parts[0]) < 30
    np.testing.assert_array_equal(layer._slice.image.raw, layer.data)
    click(qtbot, form.edits.undo_button)
    np.testing.assert_array_equal(layer.data, before)


@pytest.mark.parametrize("by", ["button", "undo", "removal", "data"])
def test_an_edit_that_is_cancelled_changes_nothing(qtbot: Any, viewer: Any, form: CorrectWidget, by: str) -> None:
    layer, history = form.layer, form.history
    before = layer.data.copy()
    click(qtbot, form.buttons["Smooth"])
    assert form.running.isVisible()
    if by == "button":
        click(qtbot, form.running.cancel_button)
    elif by == "undo":
        history.undo()
    elif by == "removal":
        viewer.layers.remove(layer)
    else:
        layer.data = np.zeros((30, 30), np.uint16)
    qtbot.waitUntil(lambda: not form.running.isVisible())
    qtbot.wait(50)
    if by == "data":
        assert "There is no object" in form.message.text()
        assert not layer.data.any()
        return
    np.testing.assert_array_equal(layer.data, before)
    assert history.undo_name is None
    assert by == "removal" or "Cancelled" in form.state.text()


def test_what_is_painted_meanwhile_is_kept(qtbot: Any, form: CorrectWidget) -> None:
    layer = form.layer
    click(qtbot, form.buttons["Grow"])
    with layer.block_history():
        layer.paint((2, 2), 9)
    qtbot.waitUntil(lambda: form.history.undo_name == "grow")
    assert layer.data[2, 2] == 9
    qtbot.waitUntil(lambda: not form.running.isVisible())
    form.history.undo()
    assert layer.data[2, 2] == 9


def test_a_large_step_is_undone_beside_the_window_and_keys_are_queued(
    qtbot: Any, form: CorrectWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_foundseg.widgets.editing.labels_history._LARGE", 100)
    monkeypatch.setattr(labels_dock, "_FEW", 10_000)
    layer = form.layer
    states = [layer.data.copy()]
    for tool in ("Grow", "Smooth", "Fill holes"):
        click(qtbot, form.buttons[tool])
        states.append(layer.data.copy())
    for _ in range(3):
        form.history.undo()
    qtbot.waitUntil(lambda: form.history.undo_name is None)
    np.testing.assert_array_equal(layer.data, states[0])
    qtbot.waitUntil(lambda: not form.running.isVisible())
    for _ in range(3):
        form.history.redo()
    qtbot.waitUntil(lambda: form.history.redo_name is None)
    np.testing.assert_array_equal(layer.data, states[-1])


def test_the_window_answers_meanwhile(qtbot: Any, form: CorrectWidget) -> None:
    ticks: list[int] = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(form.running.bar.value()))
    timer.start(5)
    click(qtbot, form.buttons["Fill holes"])
    qtbot.waitUntil(lambda: form.history.undo_name == "fill holes")
    timer.stop()
    assert len(ticks) > 1


class Paints(QObject):
    """Counts how often a widget is drawn."""

    def __init__(self, widget: Any) -> None:
        super().__init__()
        self.count = 0
        widget.installEventFilter(self)

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        self.count += event.type() == QEvent.Type.Paint
        return False


def test_a_tool_does_not_draw_the_window_before_it_returns(qtbot: Any, form: CorrectWidget) -> None:
    paints = Paints(form.running.bar)
    form.fill_holes()
    form.running._show_progress()
    assert paints.count == 0
    qtbot.waitUntil(lambda: form.history.undo_name == "fill holes")


def test_the_window_has_its_turn_soon_while_a_thread_works(qtbot: Any) -> None:
    thread = NumpyThread("turns")
    with qtbot.waitSignal(thread.done, timeout=60_000) as answered:
        thread.ask(lambda: (sys.getswitchinterval(), gc.isenabled()))
    turn, collects = answered.args[1]
    assert turn <= 1e-3
    assert not collects


def test_outlines_come_and_go_without_a_new_layer(qtbot: Any, viewer: Any, form: CorrectWidget) -> None:
    changed: list[Any] = []
    viewer.layers.events.inserted.connect(changed.append)
    viewer.layers.events.removed.connect(changed.append)
    outlines = viewer.layers["foundseg chosen"]
    node = viewer.window._qt_viewer.canvas.layer_to_visual[outlines].node
    qtbot.waitUntil(lambda: outlines.data.any())
    colours = node.cmap
    form.delete()
    qtbot.waitUntil(lambda: not outlines.data.any())
    form.history.undo()
    form.choose([3])
    qtbot.waitUntil(lambda: outlines.data.any())
    assert not changed
    assert node.cmap is colours, "nothing is compiled again"


def test_outlines_move_to_another_layer_on_top_of_it(qtbot: Any, viewer: Any, form: CorrectWidget) -> None:
    qtbot.waitUntil(lambda: viewer.layers["foundseg chosen"].data.any())
    outlines = viewer.layers["foundseg chosen"]
    other = viewer.add_labels(np.full((40, 40), 7, np.uint8), name="other", translate=(5, 5))
    assert form.layer is other
    form.choose([7])
    qtbot.waitUntil(lambda: outlines.data.any())
    assert [layer.name for layer in viewer.layers] == ["objects", "other", "foundseg chosen"]
    assert viewer.layers.selection.active is other
    first = np.argwhere(outlines.data == 1).min(0)
    np.testing.assert_allclose(outlines.data_to_world(first), (5, 5))


def test_the_removal_of_outlines_does_not_look_for_garbage(qtbot: Any, viewer: Any, form: CorrectWidget) -> None:
    frozen: list[int] = []
    viewer.layers.events.removed.connect(lambda _event: frozen.append(gc.get_freeze_count()))
    form.release()
    qtbot.waitUntil(lambda: "foundseg chosen" not in viewer.layers)
    assert len(frozen) == 1
    assert frozen[0] > 1000
    assert gc.get_freeze_count() == 0


def test_the_table_of_the_objects_is_not_made_in_the_window_for_an_edit(
    qtbot: Any, form: CorrectWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []
    join = measurements.object_table

    def noted(*tables: Any) -> Any:
        made.append(threading.current_thread() is threading.main_thread())
        return join(*tables)

    qtbot.waitUntil(lambda: form.review._measurements.current)
    monkeypatch.setattr("napari_foundseg.widgets.editing.labels_history._LARGE", 100)
    monkeypatch.setattr(measurements, "object_table", noted)
    for act in (form.grow, form.history.undo):
        act()
        qtbot.waitUntil(lambda: not form.running.isVisible() and form.review._measurements.current)
        assert int(form.review._measurements.table["pixels"][0]) == int((form.layer.data == 1).sum())
    assert made
    assert not any(made)


def test_facts_are_read_beside_the_window_for_the_journal(
    qtbot: Any, form: CorrectWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[Any] = []
    read = labels_journal.facts_of_table

    def noted(*given: Any) -> Any:
        threads.append(threading.current_thread())
        return read(*given)

    monkeypatch.setattr(labels_journal, "facts_of_table", noted)
    form.grow()
    qtbot.waitUntil(lambda: bool(threads))
    assert threads[0] is not threading.main_thread()

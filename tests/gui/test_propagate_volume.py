"""A model on a server, in a window: click, run, a lost connection, correct, undo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit

from napari_foundseg.widgets.propagate.propagate_dock import PropagateWidget
from tests.support.nninteractive_server import StandIn, serving
from tests.support.waits import wait_for_layout

pytestmark = pytest.mark.gui


@pytest.fixture
def server() -> Iterator[StandIn]:
    with serving() as own:
        yield own


def click(qtbot: Any, button: Any) -> None:
    qtbot.waitUntil(button.isEnabled)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def finished(qtbot: Any, form: Any) -> None:
    qtbot.waitUntil(lambda: form.current is None, timeout=120_000)


def test_a_server_finds_objects_in_3d_is_lost_and_comes_back(
    qtbot: Any, viewer: Any, canvas: Any, server: StandIn
) -> None:
    z, y, x = np.mgrid[:9, :90, :120]
    balls = [np.hypot(np.hypot(5 * (z - 4), y - row), x - column) < 18 for row, column in ((40, 30), (45, 85))]
    image = viewer.add_image((50 + 150 * (balls[0] | balls[1])).astype(np.uint8), name="stack")
    form = PropagateWidget(viewer)
    viewer.window.add_dock_widget(form)
    form.model.setCurrentIndex(form.model.findData("nninteractive"))
    # The licence is said before anything runs.
    assert "CC-BY-NC-SA-4.0" in form.model_row.state.text()
    field = next(one for one in form.forms["volume"].findChildren(QLineEdit) if one.accessibleName() == "Server")
    viewer.dims.set_point(0, 4)
    click(qtbot, form.marks.point_button)
    wait_for_layout(qtbot, viewer)
    canvas.click(image, (4, 40, 30))
    canvas.click(image, (4, 45, 85))
    qtbot.waitUntil(lambda: form.marks.words.text() == "2 marked")
    click(qtbot, form.run_button)
    finished(qtbot, form)
    assert "no address is given" in form.messages["settings"].text()
    assert "stack propagated" not in viewer.layers, "nothing was run, so nothing is left behind"

    qtbot.keyClicks(field, server.address)
    field.editingFinished.emit()
    # The second object does not come: the first one stays.
    server.faults["/reset_interactions"] = "lost"
    click(qtbot, form.run_button)
    finished(qtbot, form)
    labels = viewer.layers["stack propagated"]
    shown = " ".join(message.text() for message in form.messages.values())
    assert "was lost" in shown
    assert server.address in shown
    np.testing.assert_array_equal(np.asarray(labels.data) > 0, balls[0])
    click(qtbot, form.edits.undo_button)
    assert not np.asarray(labels.data).any()

    server.faults.clear()
    click(qtbot, form.run_button)
    finished(qtbot, form)
    ids = sorted(int(i) for i in np.unique(labels.data) if i)
    assert len(ids) == 2
    for label, ball in zip(ids, balls, strict=True):
        np.testing.assert_array_equal(np.asarray(labels.data) == label, ball)
    assert "CC BY-NC-SA 4.0" in form.notes.text()

    # A corrected slice stays, and is sent with the object's own click.
    viewer.dims.set_point(0, 6)
    viewer.layers.selection.active = labels
    labels.selected_label = ids[0]
    labels.brush_size = 5
    labels.mode = "erase"
    canvas.drag(labels, (6, 40, 20), (6, 40, 40))
    corrected = np.asarray(labels.data)[6].copy()
    before = len(server.asked)
    click(qtbot, form.recompute_button)
    finished(qtbot, form)
    asked = [path for path in server.asked[before:] if path.startswith("/add")]
    assert asked == ["/add_point_interaction", "/add_lasso_interaction"]
    np.testing.assert_array_equal(np.asarray(labels.data)[6], corrected)
    np.testing.assert_array_equal(np.asarray(labels.data)[5] == ids[0], balls[0][5])
    # The volume was sent once.
    assert server.count("/set_image") == 2

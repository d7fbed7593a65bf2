"""From a click to 3-D objects in a window: `python -m tests.support.walked_window FOLDER`, which a test kills."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any


def walk() -> dict[str, Any]:
    """Click, propagate, correct, recompute, fill a gap, undo all and redo all; returns the labels after each."""
    import napari
    import numpy as np
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    from napari_foundseg.widgets.editing.layer_file import layer_file
    from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
    from napari_foundseg.widgets.propagate.propagate_dock import PropagateWidget
    from tests.support.mouse import Canvas

    def until(condition: Any, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end
            QApplication.processEvents()
            time.sleep(0.005)

    def press(button: Any) -> None:
        until(button.isEnabled)
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    z, y, x = np.mgrid[:14, :128, :160]
    ball = np.hypot(np.hypot(5 * (z - 6), y - 60), x - 70) < 26
    stack = np.clip(np.random.default_rng(0).normal(50 + 120 * ball, 8), 0, 255).astype(np.uint8)
    viewer = napari.Viewer()
    canvas = Canvas(viewer)
    image = viewer.add_image(stack, name="stack")
    form: Any = PropagateWidget(viewer)
    viewer.window.add_dock_widget(form)
    viewer.dims.set_point(0, 6)
    press(form.marks.point_button)
    until(lambda: form.marks.session is not None)
    for _ in range(20):
        QApplication.processEvents()
    canvas.click(image, (6, 60, 70))
    until(lambda: form.marks.words.text() == "1 marked")
    press(form.run_button)
    until(lambda: "stack propagated" in viewer.layers and form.current is None)
    labels = viewer.layers["stack propagated"]
    states = {"truth": ball, "propagated": labels.data.copy()}

    # Correct a slice, and follow the object from there again.
    viewer.layers.selection.active = labels
    labels.selected_label = 1
    labels.brush_size = 9
    labels.mode = "erase"
    viewer.dims.set_point(0, 9)
    canvas.drag(labels, (9, 60, 60), (9, 60, 80))
    states["corrected"] = labels.data.copy()
    press(form.recompute_button)
    until(lambda: form.current is None)
    states["recomputed"] = labels.data.copy()

    # A gap, and the slices between filled from both sides.
    labels.brush_size = 70
    for at in (4, 5):
        viewer.dims.set_point(0, at)
        canvas.click(labels, (at, 60, 70))
    states["gap"] = labels.data.copy()
    correct: Any = CorrectWidget(viewer)
    viewer.window.add_dock_widget(correct)
    correct.choose([1])
    press(correct.buttons["Fill between slices"])
    states["filled"] = labels.data.copy()

    while form.edits.undo_button.isEnabled():
        press(form.edits.undo_button)
        QApplication.processEvents()
    states["undone"] = labels.data.copy()
    while form.edits.redo_button.isEnabled():
        press(form.edits.redo_button)
        QApplication.processEvents()
    states["redone"] = labels.data.copy()
    until(lambda: "kept for recovery" in layer_file(labels).in_words())
    return states


if __name__ == "__main__":
    import numpy as np

    np.savez(Path(sys.argv[1]) / "states.npz", **walk())
    print("kept", flush=True)  # noqa: T201 - what the test waits for
    time.sleep(60)

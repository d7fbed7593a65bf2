"""The largest event-loop gap of each kind of action through a working day, beyond napari's own.

The day of `tests/gui/child/working_day.py`, and after it work among 5329 objects in 2048 x 2048 pixels, run once with
the plugin and once, in a process of its own, as a control: the same layers, mouse, keys and pixels, without the plugin.
Of each action the largest gap between two ticks of a 5 ms timer; of each kind of action the median.

    xvfb-run -a python benchmarks/gui_day_gaps.py
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHILD = Path(__file__).resolve().parents[1] / "tests" / "gui" / "child"
sys.path.insert(0, str(CHILD))

import numpy as np  # noqa: E402

PARTS = ("day", "crowd")
SIDE, PITCH = 2048, 28
REPEATS = 5


class Record:
    """The largest gap of each action, by kind."""

    def __init__(self) -> None:
        self.gaps: dict[str, list[tuple[float, float]]] = defaultdict(list)

    @contextmanager
    def during(self, action: str) -> Iterator[None]:
        """Measure one action, and what the event loop does in the moment after it."""
        from qtpy.QtTest import QTest

        from _gaps import Gaps

        with Gaps() as gaps:
            yield
            QTest.qWait(120)
        self.gaps[action].append((1000 * gaps.largest, 1000 * gaps.busiest))


def crowd() -> tuple[np.ndarray, np.ndarray]:
    """Return an image of discs, and their labels."""
    y, x = np.indices((SIDE, SIDE))
    inside = (y % PITCH - PITCH // 2) ** 2 + (x % PITCH - PITCH // 2) ** 2 <= 81
    inside &= (y // PITCH < SIDE // PITCH) & (x // PITCH < SIDE // PITCH)
    labels = np.where(inside, y // PITCH * (SIDE // PITCH) + x // PITCH + 1, 0).astype(np.uint16)
    noise = np.random.default_rng(0).normal(400, 40, labels.shape)
    return (noise + 3000 * inside).astype(np.uint16), labels


def middle(label: int) -> tuple[int, int]:
    """Return where a disc of the crowd lies."""
    row, column = divmod(label - 1, SIDE // PITCH)
    return row * PITCH + PITCH // 2, column * PITCH + PITCH // 2


# With the plugin.


def day_with_plugin(folder: Path, record: Record) -> None:
    from working_day import Day

    day = Day(folder)
    day.during = record.during
    day.prompt()
    day.correct()
    np.savez_compressed(folder / "day.npz", steps=np.array(day.steps))


def crowd_with_plugin(folder: Path, record: Record) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from working_day import CONTROL, Day

    day = Day(folder)
    image, labels = crowd()
    day.viewer.layers.clear()
    day.layer = day.viewer.add_image(image, name="crowd", scale=(0.5, 0.5), units="um")
    layer = day.viewer.add_labels(labels, name="objects", scale=(0.5, 0.5), units="um")
    day.during = record.during
    day.viewer.layers.selection.active = layer
    correct = day.open("Correct")
    with record.during("measure 5329 objects"):
        _, objects = day.viewer.window.add_plugin_dock_widget("napari-foundseg", "Objects")
        day.until(lambda: objects.table.model_.rowCount() == labels.max())
        QTest.qWait(500)
    from napari_foundseg.widgets.objects import assign_objects

    assign_objects(day.layer, layer)
    removal = objects.removal
    for i in range(REPEATS):
        label = 100 + 700 * i
        with record.during("choose one of 5329"):
            day.canvas.click(layer, middle(label))
        with record.during("mark as right"):
            day.canvas.key(Qt.Key.Key_A)
            QTest.qWait(300)
        day.canvas.click(layer, middle(label))
        with record.during("delete one of 5329"):
            day.canvas.key(Qt.Key.Key_D)
            QTest.qWait(500)
        with record.during("undo one of 5329"):
            day.canvas.key(Qt.Key.Key_Z, CONTROL)
            QTest.qWait(500)
        with record.during("paint among 5329"):
            layer.mode, layer.selected_label, layer.brush_size = "paint", 7, 9
            day.canvas.drag(layer, (20, 60 + 200 * i), (20, 160 + 200 * i))
            layer.mode = "pan_zoom"
            QTest.qWait(500)
        correct.choose([1])
        with record.during("merge two far apart"):
            correct.choose([1, 5000 + i])
            correct.merge()
            QTest.qWait(500)
        with record.during("renumber 5329"):
            correct.renumber()
            day.until(lambda: correct.history.undo_name == "renumber")
            QTest.qWait(500)
        removal.bound.setValue(1e6)
        day.until(lambda: removal.button.isEnabled())
        with record.during("delete 5329"):
            removal.button.click()
            day.until(lambda: not layer.data.any())
            QTest.qWait(500)
        with record.during("undo deleting 5329"):
            day.canvas.key(Qt.Key.Key_Z, CONTROL)
            day.until(lambda: objects.table.model_.rowCount() > 5000)
            QTest.qWait(1500)
    day.viewer.layers.selection.active = day.layer
    form = day.open("Prompt")
    QTest.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    QTest.qWait(500)
    for i in range(2 * REPEATS):
        place = (int(SIDE // PITCH * PITCH + 10), 200 + 150 * i)
        with record.during("click among 5329"):
            day.canvas.click(day.layer, place)
            QTest.qWait(50)
            day.until(lambda: form.current is None)
        if form.candidates.masks:
            with record.during("accept among 5329"):
                day.canvas.key(Qt.Key.Key_C)
                QTest.qWait(500)


# Without.


class Control:
    """A window in which the pixels that the plugin writes are written by napari's own means."""

    def __init__(self, image: np.ndarray, record: Record) -> None:
        import napari
        from mouse import Canvas

        self.record = record
        self.viewer = napari.Viewer()
        self.image = self.viewer.add_image(image, name="image", scale=(0.5, 0.5), units="um")
        self.canvas = Canvas(self.viewer)

    def dock(self, name: str) -> None:
        """Add a widget of about the size of the plugin's."""
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

        with self.record.during(f"open {name}"):
            widget = QWidget()
            column = QVBoxLayout(widget)
            for kind in (QLabel, QLineEdit, QPushButton) * 4:
                column.addWidget(kind())
            self.viewer.window.add_dock_widget(widget, name=name)
            QTest.qWait(300)
        self.viewer.reset_view()
        QTest.qWait(100)

    def labels(self, data: np.ndarray) -> Any:
        return self.viewer.add_labels(data, scale=(0.5, 0.5), units="um")

    def write(self, layer: Any, after: np.ndarray) -> None:
        """Write the pixels that differ."""
        where = np.nonzero(layer.data != after)
        values = after[where]
        if len(where[0]) > 300_000:
            layer.data[...] = after
            layer.refresh()
        else:
            layer.data_setitem(where, values)


def day_without(folder: Path, record: Record) -> None:
    from qtpy.QtTest import QTest
    from working_day import NEW, PARTED, RADIUS, REFINED, picture

    steps = np.load(folder / "day.npz")["steps"]
    image, centres = picture()
    control = Control(image, record)
    viewer, canvas = control.viewer, control.canvas
    control.dock("Prompt")
    with record.during("start pointing"):
        preview = control.labels(np.zeros(image.shape, np.uint8))
        viewer.add_shapes(ndim=2, scale=(0.5, 0.5), units="um")
        points = viewer.add_points(ndim=2, scale=(0.5, 0.5), units="um", size=10)
        points.mode = "add"
        QTest.qWait(300)
    objects = None
    empty = np.zeros_like(steps[0])
    for number in range(NEW + REFINED):
        refined = number >= NEW
        y, x = centres[number - NEW if refined else number]
        after, before = steps[number], steps[number - 1] if number else empty
        for shift in (0, RADIUS - 5) if refined else (0,):
            seen = np.where(after != before, 1, 0).astype(np.uint8)
            with record.during("click"):
                canvas.click(control.image, (y, x + shift))
                QTest.qWait(50)
                control.write(preview, seen)
        with record.during("accept"):
            if objects is None:
                objects = control.labels(empty.copy())
                viewer.layers.selection.active = points
            control.write(objects, after)
            points.data = np.empty((0, 2))
            control.write(preview, np.zeros_like(preview.data))
            QTest.qWait(20)
    viewer.layers.remove(points)
    viewer.layers.remove(preview)
    control.dock("Correct")
    viewer.layers.selection.active = objects
    for i in range(PARTED):
        y, x = centres[10 + i]
        with record.during("split"):
            objects.mouse_pan = False
            canvas.click(objects, (y, x))
            canvas.drag(objects, (y - RADIUS - 8, x), (y + RADIUS + 8, x))
            control.write(objects, steps[NEW + REFINED + i])
    for i in range(PARTED):
        with record.during("merge"):
            canvas.click(objects, centres[20 + 2 * i])
            canvas.click(objects, centres[21 + 2 * i])
            control.write(objects, steps[NEW + REFINED + PARTED + i])
    for step in [*steps[-2::-1], empty]:
        with record.during("undo"):
            control.write(objects, step)
    for step in steps:
        with record.during("redo"):
            control.write(objects, step)


def crowd_without(folder: Path, record: Record) -> None:  # noqa: ARG001 - as the others
    from qtpy.QtTest import QTest

    image, labels = crowd()
    control = Control(image, record)
    viewer, canvas = control.viewer, control.canvas
    layer = control.labels(labels.copy())
    control.dock("Correct")
    with record.during("measure 5329 objects"):
        viewer.window.add_dock_widget(_table(), name="Objects")
        QTest.qWait(500)

    def goes(name: str, after: np.ndarray) -> None:
        with record.during(name):
            control.write(layer, after)
            QTest.qWait(300)

    for i in range(REPEATS):
        label = 100 + 700 * i
        with record.during("choose one of 5329"):
            canvas.click(layer, middle(label))
            layer.selected_label = label
        with record.during("mark as right"):
            viewer.scene.camera.center = (0, 500 + i, 500)
            layer.selected_label = label + 1
            QTest.qWait(300)
        viewer.reset_view()
        goes("delete one of 5329", np.where(labels == label, 0, labels))
        goes("undo one of 5329", labels)
        with record.during("paint among 5329"):
            layer.mode, layer.selected_label, layer.brush_size = "paint", 7, 9
            canvas.drag(layer, (20, 60 + 200 * i), (20, 160 + 200 * i))
            layer.mode = "pan_zoom"
            QTest.qWait(500)
        goes("merge two far apart", np.where(labels == 5000 + i, 1, labels))
        goes("renumber 5329", np.where(labels > 1000, labels - 1, labels))
        goes("delete 5329", np.zeros_like(labels))
        goes("undo deleting 5329", labels)
    control.dock("Prompt")
    preview = control.labels(np.zeros(image.shape, np.uint8))
    viewer.add_shapes(ndim=2, scale=(0.5, 0.5), units="um")
    points = viewer.add_points(ndim=2, scale=(0.5, 0.5), units="um", size=10)
    points.mode = "add"
    QTest.qWait(500)
    now = labels.copy()
    for i in range(2 * REPEATS):
        y, x = SIDE // PITCH * PITCH + 1, 200 + 150 * i
        seen = np.zeros_like(preview.data)
        seen[y : y + 3, x : x + 100] = 1
        with record.during("click among 5329"):
            canvas.click(control.image, (y, x))
            QTest.qWait(50)
            control.write(preview, seen)
        now = np.where(seen, 6000 + i, now).astype(np.uint16)
        with record.during("accept among 5329"):
            control.write(layer, now)
            points.data = np.empty((0, 2))
            control.write(preview, np.zeros_like(seen))
            QTest.qWait(500)


def _table() -> Any:
    """Return Qt's own table of as many rows and columns."""
    from qtpy.QtGui import QStandardItem, QStandardItemModel
    from qtpy.QtWidgets import QTableView

    view = QTableView()
    model = QStandardItemModel(50, 12, view)
    for row in range(50):
        for column in range(12):
            model.setItem(row, column, QStandardItem("1"))
    view.setModel(model)
    return view


RUNS = {
    ("day", "plugin"): day_with_plugin,
    ("day", "control"): day_without,
    ("crowd", "plugin"): crowd_with_plugin,
    ("crowd", "control"): crowd_without,
}


def child(part: str, kind: str, folder: Path) -> None:
    """Do one run, write its gaps and end at once."""
    record = Record()
    RUNS[part, kind](folder, record)
    (folder / f"{part} {kind}.json").write_text(json.dumps(record.gaps))
    os.kill(os.getpid(), signal.SIGKILL)


def measured(part: str, kind: str, folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the gaps of one run, made in a process of its own."""
    environment = os.environ | {"NAPARI_CONFIG": str(folder / "napari.yaml"), "FOUNDSEG_CACHE": str(folder / "cache")}
    command = [sys.executable, __file__, "--run", part, kind, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != -signal.SIGKILL:
        sys.exit(f"the run {part} {kind} ended early:\n{done.stderr[-3000:]}{done.stdout[-1000:]}")
    return json.loads((folder / f"{part} {kind}.json").read_text())


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--part", choices=PARTS, help="one of the two; both by default")
    options.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.run:
        part, kind, folder = given.run
        child(part, kind, Path(folder))
    print("medians of the largest gap of each action, in ms, by the clock and by work of the window's thread")
    print(
        f"{'action':24}{'times':>6}{'plugin':>8}{'control':>8}{'beyond':>8}   {'plugin':>8}{'control':>8}{'beyond':>8}"
    )
    worst = [0.0, 0.0]
    for part in [given.part] if given.part else PARTS:
        with tempfile.TemporaryDirectory() as folder:
            plugin, control = (measured(part, kind, Path(folder)) for kind in ("plugin", "control"))
        for action, gaps in plugin.items():
            row = f"{action:24}{len(gaps):6}"
            for k in range(2):
                own, other = (statistics.median(gap[k] for gap in found) for found in (gaps, control[action]))
                worst[k] = max(worst[k], own - other)
                row += f"{own:8.0f}{other:8.0f}{own - other:8.0f}   "
            print(row, flush=True)
    print(f"largest beyond the control: {worst[0]:.0f} ms by the clock, {worst[1]:.0f} ms of work (wanted: < 50)")


if __name__ == "__main__":
    main()

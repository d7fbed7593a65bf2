"""The working day of `gui_day_gaps.py` without the plugin: its pixels are written by napari's own means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_foundseg.widgets.layers.camera import find_camera

SIDE, PITCH = 2048, 28
REPEATS = 5


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


class Control:
    """A window in which the pixels that the plugin writes are written by napari's own means."""

    def __init__(self, image: np.ndarray, record: Any) -> None:
        import napari

        from tests.support.mouse import Canvas

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


def day_without(folder: Path, record: Any) -> None:
    from qtpy.QtTest import QTest

    from tests.support.working_day import NEW, PARTED, RADIUS, REFINED, picture

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


def crowd_without(folder: Path, record: Any) -> None:  # noqa: ARG001 - as the others
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
            find_camera(viewer).center = (0, 500 + i, 500)
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

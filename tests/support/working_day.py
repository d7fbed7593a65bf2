"""A working day in a window of its own, by mouse and keyboard alone; at its end the process is killed.

    python -m tests.support.working_day FOLDER

writes into FOLDER what the Labels layer held after every step, and what it held when everything was undone and redone.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

warnings.simplefilter("ignore")

import napari  # noqa: E402
from qtpy.QtCore import Qt  # noqa: E402
from qtpy.QtTest import QTest  # noqa: E402

from tests.support.mouse import Canvas  # noqa: E402

#: How many objects a whole day makes, outlines again, and splits as well as merges; the benchmarks do all of it.
NEW, REFINED, PARTED = 40, 10, 5
#: The same of the day in the test: each kind of step more than once.
SHORT_DAY = (12, 3, 2)
ROWS, COLUMNS, PITCH, RADIUS = 6, 8, 80, 17
CONTROL, SHIFT, ALT = (getattr(Qt.KeyboardModifier, f"{name}Modifier") for name in ("Control", "Shift", "Alt"))


def picture() -> tuple[np.ndarray[Any, Any], list[tuple[int, int]]]:
    """Bright discs on a dark ground, and their centres."""
    rng = np.random.default_rng(0)
    image = rng.normal(400, 40, (ROWS * PITCH, COLUMNS * PITCH))
    y, x = np.indices(image.shape)
    centres = [
        (row * PITCH + PITCH // 2, column * PITCH + PITCH // 2) for row in range(ROWS) for column in range(COLUMNS)
    ]
    for v, u in centres:
        image[(y - v) ** 2 + (x - u) ** 2 <= RADIUS**2] += 3000
    return np.clip(image, 0, 65535).astype(np.uint16), centres


class Day:
    """The window, and what is done in it."""

    def __init__(self, folder: Path, counts: tuple[int, int, int] = (NEW, REFINED, PARTED)) -> None:
        self.folder = folder
        self.new, self.refined, self.parted = counts
        self.image, self.centres = picture()
        self.viewer = napari.Viewer()
        self.layer = self.viewer.add_image(self.image, name="discs", scale=(0.5, 0.5), units="um")
        self.canvas = Canvas(self.viewer)
        self.steps: list[np.ndarray[Any, Any]] = []

    @property
    def labels(self) -> np.ndarray[Any, Any]:
        return np.asarray(self.viewer.layers["foundseg objects"].data)

    def until(self, condition: Callable[[], Any], seconds: float = 240) -> None:
        start = time.monotonic()
        while not condition():
            if time.monotonic() - start > seconds:
                self.viewer.screenshot(str(self.folder / "stuck.png"), canvas_only=False)
                raise SystemExit(f"stuck after {len(self.steps)} steps")
            QTest.qWait(5)

    def during(self, action: str) -> AbstractContextManager[Any]:  # noqa: ARG002 - for the benchmark, which measures
        """What goes around each action of a kind."""
        return nullcontext()

    def open(self, name: str) -> Any:
        with self.during(f"open {name}"):
            _, form = self.viewer.window.add_plugin_dock_widget("napari-foundseg", name)
            QTest.qWait(300)
        self.viewer.reset_view()
        QTest.qWait(100)
        return form

    def done(self) -> None:
        assert not self.steps or not np.array_equal(self.labels, self.steps[-1]), f"step {len(self.steps)} did nothing"
        self.steps.append(self.labels.copy())

    def choose(self, box: Any, text: str) -> None:
        box.setFocus()
        for _ in range(box.count()):
            if box.currentText() != text:
                QTest.keyClick(box, Qt.Key.Key_Down)
        assert box.currentText() == text, box.currentText()

    def prompt(self) -> None:
        form = self.open("Prompt")
        with self.during("start pointing"):
            QTest.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
            QTest.qWait(300)
        for centre in self.centres[: self.new]:
            self.point(form, centre)
            self.accept()
        self.choose(form.makes, "a better outline")
        for y, x in self.centres[: self.refined]:
            self.point(form, (y, x))
            self.point(form, (y, x + RADIUS - 5), ALT)
            before = len(np.unique(self.labels))
            self.accept()
            assert len(np.unique(self.labels)) == before
        QTest.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
        self.viewer.screenshot(str(self.folder / "prompted.png"), canvas_only=False)

    def point(self, form: Any, place: tuple[int, int], modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        with self.during("click"):
            self.canvas.click(self.layer, place, modifier)
            QTest.qWait(50)
            self.until(lambda: form.current is None and form.candidates.masks)

    def accept(self) -> None:
        with self.during("accept"):
            self.canvas.key(Qt.Key.Key_C)
            QTest.qWait(20)
        self.done()

    def correct(self) -> None:
        form = self.open("Correct")
        layer = form.layer
        for y, x in self.centres[self.refined : self.refined + self.parted]:
            with self.during("split"):
                self.canvas.click(layer, (y, x))
                self.canvas.key(Qt.Key.Key_K)
                self.canvas.drag(layer, (y - RADIUS - 8, x), (y + RADIUS + 8, x))
            self.done()
        for i in range(self.new // 2, self.new // 2 + 2 * self.parted, 2):
            (y, x), (v, u) = self.centres[i : i + 2]
            with self.during("merge"):
                self.canvas.click(layer, (y, x))
                self.canvas.click(layer, (v, u), SHIFT)
                self.canvas.key(Qt.Key.Key_J)
            self.done()
        self.viewer.screenshot(str(self.folder / "corrected.png"), canvas_only=False)
        for step in [*self.steps[-2::-1], np.zeros_like(self.steps[0])]:
            with self.during("undo"):
                self.canvas.key(Qt.Key.Key_Z, CONTROL)
            np.testing.assert_array_equal(self.labels, step)
        for step in self.steps:
            with self.during("redo"):
                self.canvas.key(Qt.Key.Key_Z, CONTROL | SHIFT)
            np.testing.assert_array_equal(self.labels, step)
        saved = form.edits.state.text()
        QTest.qWait(2000)  # what is promised: no more than two seconds are ever lost
        assert "kept for recovery" in form.edits.state.text(), saved


def main() -> None:
    day = Day(Path(sys.argv[1]), SHORT_DAY)
    day.prompt()
    day.correct()
    np.savez_compressed(day.folder / "steps.npz", steps=np.array(day.steps))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()

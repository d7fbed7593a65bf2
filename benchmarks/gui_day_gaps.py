"""The largest event-loop gap of each kind of action through a working day, beyond napari's own.

The day of `tests/support/working_day.py`, and after it work among 5329 objects in 2048 x 2048 pixels, run with the
plugin and, in a process of its own, as a control: the same layers, mouse, keys and pixels, without the plugin. What
comes once a day, such as opening a form, is measured in several days.
Of each action the largest gap between two ticks of a 5 ms timer, by the clock and by the processor's time of the
window's thread (which other programs do not lengthen); of each kind of action the median.

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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from _day_control import PITCH, REPEATS, SIDE, crowd, crowd_without, day_without, middle

PARTS = ("day", "crowd")


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


# With the plugin.


def day_with_plugin(folder: Path, record: Record) -> None:
    from tests.support.working_day import Day

    day = Day(folder)
    day.during = record.during
    day.prompt()
    day.correct()
    np.savez_compressed(folder / "day.npz", steps=np.array(day.steps))


def crowd_with_plugin(folder: Path, record: Record) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    from tests.support.working_day import CONTROL, Day

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
    from napari_foundseg.widgets.editing.image_objects import assign_objects

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
    options.add_argument("--days", type=int, default=5, help="how often all is done")
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
        found = {"plugin": defaultdict(list), "control": defaultdict(list)}
        for _ in range(given.days):
            with tempfile.TemporaryDirectory() as folder:
                for kind, actions in found.items():
                    for action, gaps in measured(part, kind, Path(folder)).items():
                        actions[action] += gaps
        control = found["control"]
        for action, gaps in found["plugin"].items():
            row = f"{action:24}{len(gaps):6}"
            for k in range(2):
                own, other = (statistics.median(gap[k] for gap in each) for each in (gaps, control[action]))
                worst[k] = max(worst[k], own - other)
                row += f"{own:8.0f}{other:8.0f}{own - other:8.0f}   "
            print(row, flush=True)
    print(f"largest beyond the control: {worst[0]:.0f} ms by the clock, {worst[1]:.0f} ms of work (wanted: < 50)")


if __name__ == "__main__":
    main()

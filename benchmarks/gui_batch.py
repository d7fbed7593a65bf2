"""A batch over 200 real files from the menu in a real window, and the same headless: are arrays and tables equal?

    xvfb-run -a python benchmarks/gui_batch.py [--count 200] [--workers 1] [--picture FILE]

The files are annotated images (grey and colour) as PNG, and two that are broken on purpose. The window's batch is
started by the menu and by clicks; while it runs, the largest gap of the window's event loop is measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("NAPARI_CONFIG", os.path.join(tempfile.mkdtemp(), "settings.yaml"))  # noqa: PTH118
os.environ.setdefault("FOUNDSEG_CACHE", tempfile.mkdtemp())

import napari
import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from _gaps import Gaps
from napari_foundseg.batch.recipe import ModelOf, Recipe, Sources, Step, write_recipe
from napari_foundseg.batch.report import read_report
from napari_foundseg.io.readers import read_image
from napari_foundseg.widgets.batch.batch_dock import BatchWidget

DATA = Path(os.environ.get("FOUNDSEG_DATA", Path(__file__).parents[1] / "../shared/data")) / "dsb2018" / "images"
BROKEN = ("broken-cut.png", "broken-page.tif")
LEFT = Qt.MouseButton.LeftButton


def make_files(folder: Path, count: int) -> int:
    """Copy images and break two; returns how many are colour."""
    images = folder / "images"
    images.mkdir()
    found = sorted(DATA.iterdir())
    colour = 0
    for number in range(count - len(BROKEN)):
        path = found[number * len(found) // (count - len(BROKEN))]
        shutil.copy(path, images / f"{number:03d}.png")
        pixels = np.asarray(read_image(path).data)
        colour += pixels.ndim == 3 and not all(np.array_equal(pixels[..., 0], pixels[..., c]) for c in (1, 2))
    whole = found[0].read_bytes()
    (images / BROKEN[0]).write_bytes(whole[: len(whole) // 2])
    (images / BROKEN[1]).write_text("<!doctype html><title>Not found</title>")
    write_recipe(
        folder / "recipe.yaml",
        Recipe(inputs=Sources(paths=("images",)), steps=(Step(task="automatic", model=ModelOf(name="foundseg-tiny")),)),
    )
    return colour


def until(condition: Callable[[], bool], seconds: float = 7200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        QTest.qWait(20)
        assert time.monotonic() < end


def from_the_menu(viewer: Any) -> BatchWidget:
    """Open the widget as a user does."""

    def trigger(menu: Any) -> bool:
        menu.aboutToShow.emit()
        for action in menu.actions():
            if action.menu() is not None and trigger(action.menu()):
                return True
            if action.text().startswith("Batch"):
                action.trigger()
                return True
        return False

    assert trigger(viewer.window.plugins_menu), "no Batch in the menu"
    found: list[BatchWidget] = []
    until(lambda: bool(found.extend(viewer.window._qt_window.findChildren(BatchWidget)) or found), 60)
    return found[0]


def in_the_window(folder: Path, workers: int, picture: str | None) -> None:
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1500, 1000)
    form = from_the_menu(viewer)
    form.ask_path = lambda _kind: [str(folder / "recipe.yaml")]
    QTest.mouseClick(form.recipe_button, LEFT)
    until(lambda: form.session.runner is not None and not form.session.preparing)
    form.workers.setValue(workers)
    until(lambda: form.session.runner is not None and not form.session.preparing)
    with Gaps() as first:
        QTest.mouseClick(form.start_button, LEFT)
        until(lambda: form.session.ended > len(form.session.lines) // 2)
    if picture:
        viewer.screenshot(picture, canvas_only=False)
    with Gaps() as second:
        until(lambda: form.session.report is not None)
    gap = max(first.largest, second.largest)
    print(
        f"window: {form.state.text()} {form.session.report.seconds:.0f} s, largest gap {gap * 1e3:.0f} ms", flush=True
    )
    if picture:
        broken = next(row for row, line in enumerate(form.session.lines) if line.state == "failed")
        form.table.setCurrentItem(form.table.topLevelItem(broken))
        QTest.qWait(500)
        viewer.screenshot(f"{picture}.end.png", canvas_only=False)
    viewer.close()


def headless(folder: Path, workers: int) -> int:
    command = [sys.executable, "-c", "from napari_foundseg.cli import main; main()", "batch"]
    options = [str(folder / "recipe.yaml"), "--out", str(folder / "headless"), "--workers", str(workers)]
    return subprocess.run(
        [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    ).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--picture")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="experiment-") as name:
        folder = Path(name)
        colour = make_files(folder, options.count)
        print(f"{options.count} files, {colour} of them colour, {len(BROKEN)} broken", flush=True)
        in_the_window(folder, options.workers, options.picture)
        code = headless(folder, options.workers)
        one, other = folder / "results", folder / "headless"
        names = sorted(path.name for path in one.glob("*_labels.tif"))
        arrays = sum(np.array_equal(read_image(one / n).data, read_image(other / n).data) for n in names)
        tables = sum((one / n).read_bytes() == (other / n).read_bytes() for n in (f"{n[:-4]}.csv" for n in names))
        print(f"headless: exit code {code}; {arrays} of {len(names)} arrays and {tables} tables equal")
        for where in (one, other):
            report = read_report(where)
            failed = {item.name: item.reason for item in report.items if item.state == "failed"} if report else {}
            print(f"report of {where.name}: {failed}")


if __name__ == "__main__":
    main()

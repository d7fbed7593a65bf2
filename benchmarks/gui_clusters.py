"""*Cluster* in a real window with the real engine: how long a fit takes there, and whether the window stays live.

    xvfb-run -a python benchmarks/gui_clusters.py fit [--images 30] [--steps 400]
    xvfb-run -a python benchmarks/gui_clusters.py walk [--steps 150] [--pictures FOLDER]

`fit` fits to a stack of 512 x 512 images and prints the largest gap of the window's event loop before, while and after
it runs. `walk` does what a user does, by clicks: fit, another number of clusters, merge, rename, convert to objects,
save, apply to another layer, match, learn from strokes, and in a second session apply what was saved again; with
pictures in the dark and the light theme.
"""

from __future__ import annotations

import argparse
import os
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
from _held_out import mosaic
from clusters import textures
from napari_foundseg.widgets.cluster.cluster_dock import ClusterWidget
from napari_foundseg.widgets.runs.shared_engine import close_engine

#: Of the pictures of the walk.
SIDE = 256


def until(condition: Callable[[], bool], form: ClusterWidget, seconds: float = 900) -> None:
    """Wait; end with what the form says where it says that something went wrong."""
    end = time.monotonic() + seconds
    while not condition():
        QTest.qWait(20)
        said = [message.text() for message in form.messages.values() if message.text()]
        assert not said, said
        assert time.monotonic() < end, form.words.text()


def click(button: Any) -> None:
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def opened() -> tuple[Any, ClusterWidget]:
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1500, 1000)
    form = ClusterWidget(viewer)
    viewer.window.add_dock_widget(form, name="Cluster").setFixedWidth(340)
    QTest.qWait(2000)
    return viewer, form


def fit(count: int, steps: int) -> None:
    whole, _ = mosaic(4096)
    places = [(y, x) for y in range(0, 4096, 512) for x in range(0, 4096, 512)][:count]
    stack = np.stack([whole[y : y + 512, x : x + 512] for y, x in places])
    viewer, form = opened()
    viewer.add_image(stack, name="stack")
    form.fit_fold.button.setChecked(True)
    form.fit.form.set_values({"steps": steps})
    QTest.qWait(2000)
    told: list[tuple[str, Gaps]] = []
    with Gaps() as looking:
        start = time.perf_counter()
        click(form.fit.fit_button)
        until(lambda: form.fit.words.text().startswith("step"), form)
    told.append(("looking at the images", looking))
    with Gaps() as fitting:
        until(lambda: form.fit.current is None, form)
    told.append(("fitting", fitting))
    seconds = time.perf_counter() - start
    with Gaps() as showing:
        until(lambda: "stack clusters" in viewer.layers and form.current is None, form)
    told.append(("showing the clusters", showing))
    print(f"fit to {count} images of 512 x 512 from the window: {seconds:.0f} s, {form.fit.words.text()!r}")
    for words, gaps in told:
        print(f"  largest gap while {words}: {1e3 * gaps.largest:.0f} ms, work {1e3 * gaps.busiest:.0f} ms", flush=True)
    viewer.close()


class Walk:
    """The way through the form, with a picture of each stage."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.viewer, self.form = opened()
        self.gaps = Gaps()

    def picture(self, name: str) -> None:
        QTest.qWait(400)
        if self.folder is not None:
            self.viewer.screenshot(str(self.folder / f"{name}.png"), canvas_only=False, flash=False)
        self.gaps.last = time.perf_counter()  # a screenshot is the benchmark's own doing

    def idle(self) -> bool:
        return self.form.current is None and not self.form._side_runs.running

    def listed(self, count: int) -> None:
        until(lambda: self.form.clusters.list.count() == count and self.idle(), self.form)

    def fit(self, steps: int) -> None:
        form = self.form
        self.viewer.add_image(textures(0, SIDE)[0], name="one")
        form.fit_fold.button.setChecked(True)
        form.fit.form.set_values({"steps": steps, "context": 32, "n_clusters": 3})
        form.fit.name.setText("textures")
        click(form.fit.fit_button)
        until(lambda: "fit preview" in self.viewer.layers and len(form.fit.curve.values) > 8, form)
        self.picture("1-fit")
        until(lambda: "one clusters" in self.viewer.layers and self.idle(), form)
        print(form.fit.words.text(), "|", form.result.text())
        form.fit_fold.button.setChecked(False)
        self.picture("2-fitted")

    def change(self) -> None:
        form = self.form
        form.slider.setValue(5)
        self.listed(5)
        form.clusters.select(4)
        form.clusters.select(5, more=True)
        click(form.clusters.merge)
        self.listed(4)
        form.clusters.items()[0].setText("wall")
        until(lambda: form.clusters.items()[0].text() == "wall" and self.idle(), form)
        self.picture("3-merged")
        form.clusters.select(1)
        click(form.objects_button)
        until(lambda: "one wall" in self.viewer.layers and self.idle(), form)
        form.refine_by.setCurrentIndex(1)
        click(form.objects_button)
        until(lambda: "one wall [1]" in self.viewer.layers and self.idle(), form)
        self.picture("4-objects")

    def apply(self) -> None:
        form, viewer = self.form, self.viewer
        form.name.setText("saved")
        click(form.save_button)
        until(lambda: form.model.currentData() == "saved" and self.idle(), form)
        print(form.result.text())
        image, truth = textures(1, SIDE)
        two = viewer.add_image(image, name="two")
        until(lambda: form.image.layer is two, form)
        click(form.run_button)
        until(lambda: "two clusters" in viewer.layers and self.idle(), form)
        viewer.add_labels(truth + 1, name="truth", visible=False)
        form.reference.choice.combo.setCurrentText("truth")
        click(form.reference.match_button)
        until(lambda: form.reference.words.isVisible(), form)
        print(form.reference.words.text())
        self.picture("5-applied")
        viewer.theme = "light"
        self.picture("6-light")

    def learn(self) -> None:
        form, viewer = self.form, self.viewer
        truth = viewer.layers["truth"].data
        strokes = np.zeros_like(truth)
        for number in (1, 2, 3):
            rows, columns = np.nonzero(truth == number)
            strokes[rows[:: len(rows) // 300], columns[:: len(rows) // 300]] = number
        viewer.add_labels(strokes, name="strokes")
        form.reference.choice.combo.setCurrentText("strokes")
        click(form.reference.learn_button)
        until(lambda: form.clusters.name_of(3) == "class 3" and self.idle(), form)
        form.reference.choice.combo.setCurrentText("truth")
        form.reference.say("")
        click(form.reference.match_button)
        until(lambda: form.reference.words.isVisible(), form)
        print("learnt:", form.reference.words.text())
        click(form.view_button)
        until(lambda: "two features" in viewer.layers and self.idle(), form)
        np.save(_kept(), viewer.layers["two clusters"].data)
        self.picture("7-learnt")
        viewer.theme = "dark"


def again(folder: Path | None) -> None:
    """In a session of its own: what was saved gives what it gave."""
    way = Walk(folder)
    form, viewer = way.form, way.viewer
    viewer.add_image(textures(1, SIDE)[0], name="two")
    form.model.setCurrentIndex(form.model.findData("saved"))
    until(way.idle, form)
    click(form.run_button)
    until(lambda: "two clusters" in viewer.layers and way.idle(), form)
    names = [form.clusters.name_of(number) for number in form.clusters.numbers]
    same = np.array_equal(viewer.layers["two clusters"].data, np.load(_kept()))
    print(f"in another session: {names}, the same pixels: {same}")
    way.picture("8-another-session")
    viewer.close()


def _kept() -> Path:
    return Path(os.environ["FOUNDSEG_CACHE"]) / "two clusters.npy"


def walk(steps: int, folder: Path | None) -> None:
    way = Walk(folder)
    for stage in (lambda: way.fit(steps), way.change, way.apply, way.learn):
        with way.gaps as gaps:
            stage()
        print(f"  largest gap {1e3 * gaps.largest:.0f} ms, work {1e3 * gaps.busiest:.0f} ms", flush=True)
    way.viewer.close()
    close_engine()
    subprocess.run([sys.executable, __file__, "again", *(["--pictures", str(folder)] if folder else [])], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fit", "walk", "again"])
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    if options.what == "fit":
        fit(options.images, options.steps or 400)
    elif options.what == "again":
        again(options.pictures)
    else:
        if options.pictures is not None:
            options.pictures.mkdir(parents=True, exist_ok=True)
        walk(options.steps or 150, options.pictures)
    close_engine()


if __name__ == "__main__":
    main()

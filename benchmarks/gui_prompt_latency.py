"""From the release of the mouse to the drawn frame, on an image whose windows are encoded.

Split into the way to the engine and back with decoding (transport + decode, of which the worker's own seconds are
decoding) and the paint (writing the preview and drawing the frame).

    xvfb-run -a python benchmarks/gui_prompt_latency.py [--runs 30] [--side 2048]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from typing import Any

os.environ.setdefault("NAPARI_CONFIG", os.path.join(tempfile.mkdtemp(), "settings.yaml"))  # noqa: PTH118

import napari
import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from scipy import ndimage

from _held_out import mosaic
from napari_foundseg.widgets.layers.camera import find_camera
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from napari_foundseg.widgets.runs.shared_engine import close_engine


def canvas_place(viewer: Any, layer: Any, data: tuple[int, int]) -> QPoint:
    """Return the canvas's pixel that shows a data position."""
    canvas, camera = viewer.window._qt_viewer.canvas.native, find_camera(viewer)
    world = np.array(layer.data_to_world(data)) - np.array(camera.center[-2:])
    y, x = world * camera.zoom + np.array([canvas.height(), canvas.width()]) / 2
    return QPoint(round(x), round(y))


def one(viewer: Any, form: PromptWidget, point: tuple[int, int]) -> tuple[float, float, float] | None:
    """Return milliseconds of transport, decode and paint of one click."""
    times: dict[str, float] = {}
    canvas = viewer.window._qt_viewer.canvas.native  # napari has no public name for it
    show_result = form.show_result

    def shown(target: Any, run: Any, segmentation: Any, seconds: float) -> str:
        times["answer"] = time.perf_counter()
        times["decode"] = segmentation.provenance.get("seconds", 0.0)
        return show_result(target, run, segmentation, seconds)

    form.show_result = shown
    place = canvas_place(viewer, form.session.points, point)
    QTest.mouseMove(canvas, place)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=place)
    started = time.perf_counter()
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=place)
    while "answer" not in times or form.current is not None:
        QTest.qWait(1)
        if time.perf_counter() - started > 30:
            raise SystemExit("; ".join(m.text() for m in form.messages.values() if m.text()) or "no answer")
    canvas.repaint()
    drawn = time.perf_counter()
    del form.show_result
    form.clear()
    QTest.qWait(50)
    answer = times["answer"] - started
    return 1000 * (answer - times["decode"]), 1000 * times["decode"], 1000 * (drawn - times["answer"])


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--runs", type=int, default=30)
    options.add_argument("--side", type=int, default=512, help="of the image, in pixels")
    runs, side = vars(options.parse_args()).values()
    viewer = napari.Viewer()
    image, truth = mosaic(side)
    viewer.add_image(image, name="mosaic")
    form = PromptWidget(viewer)
    viewer.window.add_dock_widget(form)
    QTest.qWait(2000)
    form.run_button.click()
    QTest.qWait(500)
    viewer.reset_view()
    middles = ndimage.center_of_mass(truth > 0, truth, np.unique(truth)[1:])
    centres = [(round(y), round(x)) for y, x in middles if truth[round(y), round(x)]]
    chosen = [centres[i] for i in np.random.default_rng(0).choice(len(centres), runs)]
    for point in chosen:  # every window is encoded once
        one(viewer, form, point)
    times = np.array([one(viewer, form, point) for point in chosen])
    for name, column in zip(("transport", "decode", "paint"), times.T, strict=True):
        print(f"{name:10} median {statistics.median(column):6.1f} ms")
    print(f"{'in all':10} median {statistics.median(times.sum(1)):6.1f} ms (wanted: < {60 if side <= 512 else 100})")
    viewer.close()
    close_engine()


if __name__ == "__main__":
    main()

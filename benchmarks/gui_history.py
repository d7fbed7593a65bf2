"""Undo in a window: a commit of 512 × 512 × 64 pixels, and what a step costs in memory with 500 objects.

xvfb-run -a python benchmarks/gui_history.py [--runs 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time

os.environ.setdefault("NAPARI_CONFIG", os.path.join(tempfile.mkdtemp(), "settings.yaml"))  # noqa: PTH118
os.environ.setdefault("FOUNDSEG_CACHE", tempfile.mkdtemp())

import napari
import numpy as np
from qtpy.QtTest import QTest

from napari_foundseg.core.image import Image
from napari_foundseg.widgets.editing.labels_history import LabelsHistory, shared_history

SHAPE = (64, 512, 512)


def ball() -> np.ndarray:
    """Return an ellipsoid that fills the volume."""
    z, y, x = (((np.arange(n) - n / 2 + 0.5) / (n / 2)) ** 2 for n in SHAPE)
    return z[:, None, None] + y[:, None] + x <= 1


def timed(viewer: napari.Viewer, history: LabelsHistory, act: str) -> float:
    """Return the milliseconds until an undo or redo is drawn."""
    canvas = viewer.window._qt_viewer.canvas.native  # napari has no public name for it
    started = time.perf_counter()
    getattr(history, act)()
    canvas.repaint()
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5)
    runs = options.parse_args().runs
    viewer = napari.Viewer()
    image = np.zeros(SHAPE, np.uint8)
    viewer.add_image(image)
    layer = viewer.add_labels(np.zeros(SHAPE, np.uint16), name="objects")
    history = shared_history(layer, Image(image, "ZYX"), "benchmark")
    whole = tuple(slice(0, n) for n in SHAPE)
    history.write("accept", [(whole, ball().astype(np.uint16))])
    QTest.qWait(1000)
    times = {"undo": [], "redo": []}
    for _ in range(runs):
        for act, own in times.items():
            own.append(timed(viewer, history, act))
            QTest.qWait(300)
    for act, own in times.items():
        print(f"{act} of {SHAPE[1]} x {SHAPE[2]} x {SHAPE[0]}: median {statistics.median(own):.0f} ms (wanted: < 200)")
    before = history._steps.nbytes
    rng = np.random.default_rng(0)
    for label in range(1, 501):
        at = [int(rng.integers(0, n - 24)) for n in SHAPE]
        box = tuple(slice(a, a + 24) for a in at)
        history.write("accept", [(box, np.where(ball()[20:44, :24, :24], label, layer.data[box]).astype(np.uint16))])
    cells = np.arange(500).reshape(20, 25).repeat(25, 0).repeat(20, 1).astype(np.uint16) + 1
    print(f"500 objects, a step each: {(history._steps.nbytes - before) / 500 / 1e6:.4f} MB a step (wanted: < 10)")
    before = history._steps.nbytes
    history.write("automatic", [((slice(0, 1), slice(0, 500), slice(0, 500)), cells[None])])
    print(f"500 objects in one step: {(history._steps.nbytes - before) / 1e6:.3f} MB (wanted: < 10)")
    history.leave("benchmark")
    viewer.close()


if __name__ == "__main__":
    main()

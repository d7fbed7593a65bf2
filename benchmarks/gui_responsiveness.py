"""Show 4: the largest event-loop gap of the window between the click on Run and the painted layer.

A 5 ms timer notes when it fires. Each measured run is followed by a control run, in which the same labels are added
without the plugin. Median of the maxima of five runs each.

    xvfb-run -a python benchmarks/gui_responsiveness.py [--side 2048] [--runs 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from typing import Any

os.environ.setdefault("NAPARI_CONFIG", os.path.join(tempfile.mkdtemp(), "settings.yaml"))  # noqa: PTH118

import napari
import numpy as np
from qtpy.QtTest import QTest

from _gaps import Gaps
from _held_out import mosaic
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.result_layers import object_features
from napari_foundseg.widgets.runs.shared_engine import close_engine


def settle(milliseconds: int = 600) -> None:
    QTest.qWait(milliseconds)


def measured_run(viewer: Any, form: AutomaticWidget) -> tuple[float, Any]:
    before = len(viewer.layers)
    with Gaps() as gaps:
        form.run_button.click()
        while form.current is not None:
            QTest.qWait(20)
        settle()
    if len(viewer.layers) == before:
        raise SystemExit("; ".join(m.text() for m in form.messages.values() if m.text()))
    return gaps.largest, viewer.layers[-1]


def control_run(viewer: Any, image: Any, made: Any, form: AutomaticWidget) -> float:
    segmentation, run, _ = form._result
    labels, features = made.data.copy(), object_features(segmentation)
    transforms = ImageOnLayer(image, run.request.image).overlay.transforms
    viewer.layers.remove(made)
    settle()
    with Gaps() as gaps:
        viewer.add_labels(labels, features=features, **transforms)
        settle()
    viewer.layers.remove(viewer.layers[-1])
    return gaps.largest


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--side", type=int, default=2048)
    options.add_argument("--runs", type=int, default=5)
    given = options.parse_args()
    viewer = napari.Viewer()
    image = viewer.add_image(mosaic(given.side)[0].astype(np.uint16) * 257, name="mosaic")
    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form)
    settle(2000)
    _, made = measured_run(viewer, form)  # warms the engine, the window and napari
    control_run(viewer, image, made, form)
    plugin, control = [], []
    for _ in range(given.runs):
        viewer.layers.selection.active = image
        gap, made = measured_run(viewer, form)
        plugin.append(1000 * gap)
        control.append(1000 * control_run(viewer, image, made, form))
    print("largest gap with the plugin, ms:", [round(v) for v in plugin])
    print("largest gap of the control, ms: ", [round(v) for v in control])
    difference = statistics.median(plugin) - statistics.median(control)
    print(f"median beyond the control: {difference:.0f} ms (wanted: < 50)")
    viewer.close()
    close_engine()


if __name__ == "__main__":
    main()

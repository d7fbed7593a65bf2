"""The window's largest gap while slices of a propagation stream in, beside writing the same slices without the plugin.

A 5 ms timer notes when it fires; printed are the longest time by the clock and the most work of the window's thread
between two ticks, which other programs on a busy computer do not lengthen.

    xvfb-run -a python benchmarks/gui_propagation.py [--slices 200] [--side 1024]
"""

from __future__ import annotations

import argparse
import os
import tempfile

os.environ.setdefault("NAPARI_CONFIG", os.path.join(tempfile.mkdtemp(), "settings.yaml"))  # noqa: PTH118

import napari
import numpy as np
from qtpy.QtTest import QTest

from _gaps import Gaps
from napari_foundseg.widgets.propagate.propagate_dock import PropagateWidget
from napari_foundseg.widgets.runs.shared_engine import close_engine
from propagation import large_stack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--side", type=int, default=1024)
    given = parser.parse_args()
    stack, prompts = large_stack(given.slices, given.side)
    viewer = napari.Viewer()
    viewer.add_image(stack, name="stack")
    form = PropagateWidget(viewer)
    viewer.window.add_dock_widget(form)
    form.marks.kept = {label: [prompt] for label, prompt in prompts.items()}
    viewer.dims.set_point(0, given.slices // 2)
    # The first run starts the engine and warms it.
    form.range.first.setValue(given.slices // 2 - 2)
    form.range.last.setValue(given.slices // 2 + 2)
    for first, last in ((given.slices // 2 - 2, given.slices // 2 + 2), (0, given.slices - 1)):
        form.range.first.setValue(first)
        form.range.last.setValue(last)
        QTest.qWait(500)
        with Gaps() as gaps:
            form.run_button.click()
            while form.current is not None:
                QTest.qWait(20)
        said = "; ".join(message.text() for message in form.messages.values() if message.text())
        print(f"{last - first + 1} slices: {form.result.text()} {said}", flush=True)
    made = np.asarray(form.into.layer.data)
    labels = viewer.add_labels(np.zeros_like(made), name="control")
    QTest.qWait(1000)
    with Gaps() as control:
        for z in range(given.slices):
            labels.data[z] = made[z]
            labels.refresh()
            QTest.qWait(20)
    print(
        f"run: {1000 * gaps.largest:.0f} ms by the clock, {1000 * gaps.busiest:.0f} ms of work; control: "
        f"{1000 * control.largest:.0f} ms, {1000 * control.busiest:.0f} ms of work; beyond it: "
        f"{1000 * (gaps.busiest - control.busiest):.0f} ms of work"
    )
    close_engine()
    viewer.close()


if __name__ == "__main__":
    main()

"""A window with unsaved work in many layers: `python -m tests.support.killed_window FOLDER`, which a test kills."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def work(folder: Path) -> dict[str, Any]:
    """Open a window and leave unsaved work in all forms; returns the labels by the names of their layers."""
    import napari
    import numpy as np
    import tifffile
    from qtpy.QtWidgets import QApplication

    from napari_foundseg.core.masks import Mask
    from napari_foundseg.core.object_table import object_table
    from napari_foundseg.core.result import Segmentation
    from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
    from napari_foundseg.widgets.classes.class_layers import ClassLayers
    from napari_foundseg.widgets.cluster.cluster_layer import ClusterLayer
    from napari_foundseg.widgets.editing.image_objects import ImageObjects
    from napari_foundseg.widgets.editing.layer_file import layer_file
    from napari_foundseg.widgets.editing.mask_writing import add_objects
    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
    from napari_foundseg.widgets.layers.layer_conversion import image_from_layer
    from napari_foundseg.widgets.layers.layer_tags import TOOL
    from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
    from napari_foundseg.widgets.propagate.propagate_dock import PropagateWidget
    from napari_foundseg.widgets.runs import shared_engine
    from napari_foundseg.widgets.worklist.worklist_dock import WorklistWidget
    from tests.gui.test_classes import panoptic_result
    from tests.support.fake_engine import FakeEngine

    def until(condition: Any) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end
            QApplication.processEvents()
            time.sleep(0.005)

    pixels = np.zeros((64, 80), np.uint16)
    pixels[8:24, 8:24] = 1
    pixels[30:50, 40:60] = 2
    scores = {"predicted_iou": [0.9, 0.8], "stability_score": [0.9, 0.8]}
    found = Segmentation(pixels, object_table(pixels, "YX", **scores), provenance={"task": "automatic", "inputs": {}})
    engine = FakeEngine()
    engine.answer = lambda _: found
    shared_engine.make_engine = lambda *_: engine
    viewer = napari.Viewer()
    layer = viewer.add_image(pixels * 100, name="cells")
    target = ImageOnLayer(layer, image_from_layer(layer))
    # Automatic masks.
    form: Any = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form)
    until(form.run_button.isEnabled)
    form.run_button.click()
    until(lambda: "cells masks" in viewer.layers)
    # Classes, clusters, an accepted mask.
    scene: Any = SimpleNamespace(image=pixels * 100, automatic=found)
    ClassLayers(viewer, target, panoptic_result(scene))
    ClusterLayer(viewer).show(target, panoptic_result(scene))
    add_objects(ImageObjects(viewer).add(target), target.overlay, [Mask.from_array(pixels == 2)], "keep others")
    # Correct: edited, then another layer, then painted in while no form follows it; and the form is closed.
    for name in ("one", "two"):
        viewer.add_labels(pixels.copy(), name=name)
    form = CorrectWidget(viewer)
    dock = viewer.window.add_dock_widget(form)
    for name in ("one", "two"):
        viewer.layers.selection.active = viewer.layers[name]
        form.choose([1])
        form.delete()
    viewer.layers["one"].paint((60, 70), 9)
    viewer.window.remove_dock_widget(dock)
    form.deleteLater()
    QApplication.processEvents()
    viewer.layers["two"].paint((60, 70), 8)
    # Propagate: killed in the middle of the stack.
    engine.answer = None
    stack = viewer.add_image(np.repeat(pixels[None] * 100, 6, 0), name="stack")
    viewer.layers.selection.active = stack
    form = PropagateWidget(viewer)
    viewer.window.add_dock_widget(form)
    form.marks.point_button.click()
    until(lambda: form.marks.session is not None)
    form.marks.session.points.add((2, 16, 16))
    until(form.run_button.isEnabled)
    form.run_button.click()
    until(lambda: form.current is not None)
    for z in (2, 3, 4):
        mask = Mask.from_array(pixels == 1, index=(z,), label=1, predicted_iou=0.9)
        form._follower.shown.emit({"parts": [((z,), {1: mask})]})
    # Worklist.
    (folder / "images").mkdir()
    tifffile.imwrite(folder / "images" / "listed.tif", pixels)
    form = WorklistWidget(viewer)
    viewer.window.add_dock_widget(form)
    form.ask_folder = lambda _title: str(folder / "images")
    form.folder_button.click()
    until(lambda: not form.session.busy and form.next_button.isEnabled())
    form.next_button.click()
    until(lambda: "listed labels" in viewer.layers)
    viewer.layers["listed labels"].paint((5, 5), 3)
    all_labels = [own for own in viewer.layers if isinstance(own, napari.layers.Labels) and TOOL not in own.metadata]
    until(lambda: all("kept for recovery" in layer_file(own).in_words() for own in all_labels))
    return {own.name: np.asarray(own.data) for own in all_labels}


if __name__ == "__main__":
    import numpy as np

    kept = work(Path(sys.argv[1]))
    np.savez(Path(sys.argv[1]) / "kept.npz", **kept)
    print("kept", flush=True)  # noqa: T201 - what the test waits for
    time.sleep(60)

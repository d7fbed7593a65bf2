"""The demo's window: the sample image with its labels, and the widget that made them.

Run as ``python -m napari_foundseg.widgets.demo_window LABELS.tif``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import napari

from napari_foundseg.io.readers import read_image

__all__ = ["show"]


def show(labels: Path) -> None:
    """Open napari with the demo's image, its labels and the *Automatic masks* widget; return when it is closed."""
    viewer = napari.Viewer()
    viewer.open_sample("napari-foundseg", "nuclei")
    viewer.add_labels(read_image(labels).raw(), name="automatic masks")
    viewer.layers.selection.active = viewer.layers[0]
    viewer.window.add_plugin_dock_widget("napari-foundseg", "Automatic masks")
    napari.run()


if __name__ == "__main__":
    show(Path(sys.argv[1]))

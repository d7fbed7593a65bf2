"""A network that tells views, by clicks: the view of the picture and its classes are in the window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.models.importing import import_model
from napari_foundseg.widgets.classes.semantic_dock import SemanticWidget
from tests.support.mmseg_files import picture
from tests.support.smp_folders import saved, with_classes

pytestmark = pytest.mark.gui
_LONG = 60_000
CLASSES = ["background", "left ventricle", "left atrium", "aorta"]
VIEWS = {"four chamber": ["left ventricle", "left atrium"], "long axis": ["left ventricle", "aorta"]}


def test_the_view_of_a_picture_is_shown_with_its_classes(qtbot: Any, viewer: Any, tmp_path: Path) -> None:
    saved(tmp_path / "heart", encoder_name="mobilenet_v2", classes=4, aux_params={"classes": 2})
    import_model(with_classes(tmp_path / "heart", {"classes": CLASSES, "views": VIEWS}))
    viewer.add_image(picture(), name="heart", rgb=True)
    _, form = viewer.window.add_plugin_dock_widget("napari-foundseg", "Semantic")
    assert isinstance(form, SemanticWidget)
    form.model.refresh("heart")
    qtbot.waitUntil(form.run_button.isEnabled)
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(viewer.layers) > 1, timeout=_LONG)
    result = viewer.layers[-1]
    qtbot.waitUntil(lambda: "View: " in form.notes.text() and form.notes.isVisible())
    view = next(name for name in VIEWS if f"View: {name}" in form.notes.text())
    allowed = {0, *(CLASSES.index(name) for name in VIEWS[view])}
    assert set(np.unique(result.data).tolist()) <= allowed

"""A laboratory's own network in an ONNX file, by clicks: dropped on *Models*, described, and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication, QDialogButtonBox

from napari_foundseg.models.catalog import row
from napari_foundseg.widgets.classes.semantic_dock import SemanticWidget
from napari_foundseg.widgets.models.models_dock import ModelsWidget
from napari_foundseg.widgets.models.network_dialog import NetworkDialog
from tests.models.families.instances.test_onnx_network import Levels, blocks, export

pytestmark = pytest.mark.gui
_LONG = 60_000


def test_a_network_is_dropped_described_and_run(qtbot: Any, viewer: Any, tmp_path: Path) -> None:
    viewer.add_image(blocks(), name="blocks", contrast_limits=(0, 255))
    path = export(Levels(), tmp_path / "our-net.onnx")
    _, dock = viewer.window.add_plugin_dock_widget("napari-foundseg", "Models")
    assert isinstance(dock, ModelsWidget)
    qtbot.waitUntil(lambda: bool(dock.table.shown()))

    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    page = dock.viewport()
    QApplication.sendEvent(page, QDragEnterEvent(QPoint(9, 9), copy, data, left, none))
    QApplication.sendEvent(page, QDropEvent(QPointF(9, 9), copy, data, left, none))
    qtbot.waitUntil(lambda: bool(dock.findChildren(NetworkDialog)) or bool(dock.import_button.errors), timeout=_LONG)
    assert not dock.import_button.errors
    assert "taken for granted" in dock.outcome.text()
    dialog = dock.findChildren(NetworkDialog)[0]
    assert dialog.facts()["values"] == "scores"
    dialog._controls["classes"].value = "background, dim, bright"
    ok = dialog.buttons.button(QDialogButtonBox.StandardButton.Ok)
    qtbot.mouseClick(ok, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: row("our-net").classes == ("background", "dim", "bright"), timeout=_LONG)
    qtbot.waitUntil(lambda: not dock.import_button.running)
    assert row("our-net").assumed == ""

    qtbot.waitUntil(lambda: dock.table.name == "our-net" and dock.buttons.describe.isVisible())
    _, form = viewer.window.add_plugin_dock_widget("napari-foundseg", "Semantic")
    assert isinstance(form, SemanticWidget)
    form.model.refresh("our-net")
    qtbot.waitUntil(form.run_button.isEnabled)
    before = len(viewer.layers)
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(viewer.layers) > before, timeout=_LONG)
    assert np.array_equal(viewer.layers[-1].data, (blocks() > 100).astype(int) + (blocks() > 200))
    assert "bright" in str(viewer.layers[-1].features)

"""A network of one's own, by clicks: an ONNX file or a package of bioimage.io is dropped on *Models*, and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication, QDialogButtonBox, QMessageBox

from napari_foundseg.models.catalog import catalog, row
from napari_foundseg.widgets.classes.semantic_dock import SemanticWidget
from napari_foundseg.widgets.models.models_dock import ModelsWidget
from napari_foundseg.widgets.models.network_dialog import NetworkDialog
from tests.models.families.instances.test_onnx_network import Levels, blocks, export
from tests.support.bioimageio_packages import described, write_package, zipped

pytestmark = pytest.mark.gui
_LONG = 60_000


def _drop(dock: ModelsWidget, path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    page = dock.viewport()
    QApplication.sendEvent(page, QDragEnterEvent(QPoint(9, 9), copy, data, left, none))
    QApplication.sendEvent(page, QDropEvent(QPointF(9, 9), copy, data, left, none))


def test_a_network_is_dropped_described_and_run(qtbot: Any, viewer: Any, tmp_path: Path) -> None:
    viewer.add_image(blocks(), name="blocks", contrast_limits=(0, 255))
    path = export(Levels(), tmp_path / "our-net.onnx")
    _, dock = viewer.window.add_plugin_dock_widget("napari-foundseg", "Models")
    assert isinstance(dock, ModelsWidget)
    qtbot.waitUntil(lambda: bool(dock.table.shown()))

    _drop(dock, path)
    qtbot.waitUntil(lambda: bool(dock.findChildren(NetworkDialog)) or bool(dock.import_button.errors), timeout=_LONG)
    assert not dock.import_button.errors
    assert "assumed" in dock.outcome.text()
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


def test_python_of_a_package_is_asked_for(
    qtbot: Any, viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer.add_image(blocks(), name="blocks", contrast_limits=(0, 255))
    path = zipped(write_package(tmp_path / "their-net", described()))
    _, dock = viewer.window.add_plugin_dock_widget("napari-foundseg", "Models")
    assert isinstance(dock, ModelsWidget)
    qtbot.waitUntil(lambda: bool(dock.table.shown()))
    asked: list[str] = []
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]

    def answer(_parent: Any, _title: str, text: str, *_more: Any) -> Any:
        asked.append(text)
        return answers[len(asked) - 1]

    monkeypatch.setattr(QMessageBox, "question", answer)
    _drop(dock, path)
    qtbot.waitUntil(lambda: bool(dock.import_button.errors), timeout=_LONG)
    assert "their-net" not in catalog()
    assert "may do all that you may do" in dock.messages["import"].text()
    _drop(dock, path)
    qtbot.waitUntil(lambda: "their-net" in catalog() and not dock.import_button.running, timeout=_LONG)
    assert len(asked) == 2
    assert "Do you trust those who wrote it" in asked[0]
    assert "as you allowed" in dock.outcome.text()
    qtbot.waitUntil(lambda: bool(dock.findChildren(NetworkDialog)))
    dialog = dock.findChildren(NetworkDialog)[0]
    assert dialog.facts()["run_code"] == "True"
    assert "input_values" not in dialog.facts()
    dialog.reject()

    _, form = viewer.window.add_plugin_dock_widget("napari-foundseg", "Semantic")
    assert isinstance(form, SemanticWidget)
    form.model.refresh("their-net")
    qtbot.waitUntil(form.run_button.isEnabled)
    before = len(viewer.layers)
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(viewer.layers) > before, timeout=_LONG)
    assert np.array_equal(viewer.layers[-1].data, (blocks() > 100).astype(int) + (blocks() > 200))

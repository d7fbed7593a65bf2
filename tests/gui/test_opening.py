"""Forms opened by their names in the manifest, as napari's menus do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget

from napari_foundseg.widgets import menu

pytestmark = pytest.mark.gui

FRESH = """
import sys, napari
from qtpy.QtCore import QTimer
from qtpy.QtTest import QTest
viewer = napari.Viewer()
assert QTest.qWaitForWindowExposed(viewer.window._qt_window, 30_000)
ticks = []
timer = QTimer()
timer.timeout.connect(lambda: ticks.append(None))
timer.start(1)
_, form = viewer.window.add_plugin_dock_widget("napari-foundseg", "Prompt")
assert type(form).__name__ == "PromptWidget" and form.viewer is not None
assert len(ticks) >= 3, len(ticks)
import os
os._exit(0)
"""


def test_the_window_goes_on_while_the_first_form_is_imported(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr


class ShownWindows(QObject):
    """The widgets that were shown as windows of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        shown = event is not None and event.type() == QEvent.Type.Show
        if shown and isinstance(watched, QWidget) and watched.isWindow():
            self.names.append(type(watched).__name__)
        return False


@pytest.mark.usefixtures("engine")
def test_every_form_of_the_manifest_opens_without_a_window_of_its_own(viewer: Any, qtbot: Any, qapp: Any) -> None:
    windows = ShownWindows()
    qapp.installEventFilter(windows)
    manifest = yaml.safe_load((Path(menu.__file__).parents[1] / "napari.yaml").read_text())
    for widget in manifest["contributions"]["widgets"]:
        _, form = viewer.window.add_plugin_dock_widget("napari-foundseg", widget["display_name"])
        assert type(form).__name__.endswith("Widget")
        assert type(form).__module__ != menu.__name__
        qtbot.wait(1)
        assert windows.names == [], widget["display_name"]
    qapp.removeEventFilter(windows)


def test_what_goes_wrong_in_a_forms_module_is_told(monkeypatch: pytest.MonkeyPatch, viewer: Any) -> None:
    monkeypatch.setattr(menu.Prompt, "module", "no_such_form")
    with pytest.raises(ModuleNotFoundError, match="no_such_form"):
        menu.Prompt(viewer)

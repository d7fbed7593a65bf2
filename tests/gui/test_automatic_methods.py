"""The methods *Flows* and *Decoder's prompts* of *Automatic masks* by clicks, with the real engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qtpy.QtCore import Qt

from napari_foundseg.models.importing import import_model
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from tests.gui.test_find_similar import docked
from tests.support.mouse import choose
from tests.support.small_cellpose import weights

pytestmark = pytest.mark.gui
_LONG = 120_000


def _opened(qtbot: Any, viewer: Any) -> AutomaticWidget:
    choose(qtbot, viewer, "Plugins", "FoundSeg", "Automatic masks (FoundSeg)")
    form = docked(qtbot, viewer, AutomaticWidget)
    assert isinstance(form, AutomaticWidget)
    return form


def _run(qtbot: Any, form: AutomaticWidget) -> None:
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: form.current is None, timeout=_LONG)
    assert not form.messages["run"].text()


def _shot(viewer: Any, form: AutomaticWidget, name: str) -> None:
    if folder := os.environ.get("FOUNDSEG_SHOTS"):
        for width in (320, 480):
            form.setFixedWidth(width)
            form.ensureVisible(0, 0)
            form.grab().save(f"{folder}/{name}-{width}.png")
        viewer.window._qt_window.grab().save(f"{folder}/{name}.png")


def _discs() -> np.ndarray[Any, np.dtype[np.uint8]]:
    y, x = np.mgrid[:200, :240]
    places = [(50, 60), (50, 150), (140, 100), (140, 190)]
    inside = np.any([(y - cy) ** 2 + (x - cx) ** 2 <= 18**2 for cy, cx in places], axis=0)
    return np.where(inside, 200, 20).astype(np.uint8)


def test_flows_run_by_clicks_and_thresholds_act_where_a_diameter_needs_a_run(
    qtbot: Any, viewer: Any, tmp_path: Path
) -> None:
    path = tmp_path / "my_cells"
    torch.save({name: torch.from_numpy(value) for name, value in weights().items()}, path)
    import_model(path, "my_cells")
    viewer.add_image(_discs(), name="cells")
    form = _opened(qtbot, viewer)
    form.model.setCurrentIndex(form.model.findData("my_cells"))
    assert form.method_name == "flows"
    settings = form.forms["flows"]
    settings.set_values({"flow_threshold": 0.0, "min_area": 1})
    _run(qtbot, form)
    layer = viewer.layers["cells masks"]
    before = int(layer.data.max())
    assert before > 0
    _shot(viewer, form, "flows")
    # A threshold acts on the kept maps.
    settings.set_values({"min_area": 100_000})
    qtbot.waitUntil(lambda: not layer.data.any())
    settings.set_values({"min_area": 1})
    qtbot.waitUntil(lambda: int(layer.data.max()) == before)
    # A diameter does not, and this is said until it is as before, or a run has it.
    settings.set_values({"diameter": 60.0})
    message = form.messages["settings"]
    assert message.text() == "Diameter acts with the next run."
    assert not message.is_error
    assert "border" not in message.styleSheet(), "it is no error"
    _shot(viewer, form, "flows-diameter")
    settings.set_values({"diameter": None})
    assert not form.messages["settings"].text()
    settings.set_values({"diameter": 60.0})
    _run(qtbot, form)
    assert not form.messages["settings"].text()


def test_prompts_of_the_decoder_run_by_clicks(qtbot: Any, viewer: Any) -> None:
    viewer.add_image(_discs(), name="cells")
    form = _opened(qtbot, viewer)
    at = next(i for i in range(form.method.count()) if "prompts" in form.method.itemText(i).lower())
    form.method.setCurrentIndex(at)
    assert form.method_name == "apg"
    _run(qtbot, form)
    layer = viewer.layers["cells masks"]
    assert int(layer.data.max()) == 4
    assert ((layer.data > 0) == (_discs() > 100)).mean() > 0.98
    _shot(viewer, form, "apg")
    form.forms["apg"].set_values({"min_area": 100_000})
    qtbot.waitUntil(lambda: not layer.data.any())

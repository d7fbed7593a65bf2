"""Encoding a stack in the background: progress, cancel, and the cache's own button."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.tasks.windows.embeddings import disk_cache
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.waits import wait_for_posted

pytestmark = pytest.mark.gui


@pytest.fixture
def form(viewer: Any, engine: Any) -> Any:
    viewer.add_image(np.random.default_rng(0).integers(0, 99, (6, 32, 40), np.uint8), name="stack")
    widget = PromptWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Prompt")
    return widget


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_slices_are_encoded_one_run_each_with_progress(qtbot: Any, engine: Any, scene: Any, form: Any) -> None:
    encoding = form.encoding
    click(qtbot, encoding.button)
    for done in range(6):
        qtbot.waitUntil(lambda done=done: len(engine.jobs) == done + 1)
        assert encoding.bar.isVisible()
        assert encoding.bar.value() == done
        assert engine.jobs[-1].task == "encode"
        assert engine.jobs[-1].request.inputs.index == (done,)
        engine.jobs[-1].finish(scene.prompted)
    qtbot.waitUntil(lambda: not encoding.running)
    assert "6 slices" in encoding.said.text()
    assert not encoding.bar.isVisible()


def test_it_stops_when_asked_and_can_begin_again(qtbot: Any, engine: Any, scene: Any, form: Any) -> None:
    encoding = form.encoding
    click(qtbot, encoding.button)
    qtbot.waitUntil(lambda: len(engine.jobs) == 1)
    engine.jobs[-1].finish(scene.prompted)
    qtbot.waitUntil(lambda: len(engine.jobs) == 2)
    assert "Stop" in encoding.button.text()
    click(qtbot, encoding.button)
    assert not encoding.running
    wait_for_posted(qtbot)
    assert len(engine.jobs) == 2
    click(qtbot, encoding.button)
    qtbot.waitUntil(lambda: len(engine.jobs) == 3)
    assert engine.jobs[-1].request.inputs.index == (0,)


def test_the_cache_is_cleared_by_its_button(qtbot: Any, form: Any) -> None:
    disk = disk_cache()
    assert disk is not None
    disk.put("a", bytes(3_000_000))
    click(qtbot, form.encoding.clear_button)
    assert "3 MB" in form.encoding.said.text()
    assert disk.size() == 0

"""The commands of napari's command palette."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from napari._app_model import get_app_model
from napari.utils.notifications import Notification, notification_manager

from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.menu import open_dock
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.mouse import choose

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The texts of napari's notifications."""
    texts: list[str] = []

    def hear(notification: Notification) -> None:
        texts.append(str(notification.message))

    notification_manager.notification_ready.connect(hear)
    yield texts
    notification_manager.notification_ready.disconnect(hear)


def call(name: str) -> None:
    """Choose a command of the palette."""
    get_app_model().commands.execute_command(f"napari-foundseg.{name}").result()


def docks(viewer: Any) -> list[str]:
    return list(viewer.window.dock_widgets)


@pytest.mark.usefixtures("engine")
def test_they_are_in_the_palette(viewer: Any) -> None:
    titles = {command.title for _, command in get_app_model().commands}
    wanted = {"Segment this image", "Accept", "Next image", "Save as recipe"}
    assert {f"{title} (FoundSeg)" for title in wanted} <= titles


def test_segment_opens_automatic_masks_and_runs_it_once_there_is_an_image(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, said: list[str]
) -> None:
    call("segment_image")
    assert "no image" in said[-1]
    assert not docks(viewer)
    viewer.add_image(scene.image, name="cells")
    engine.answer = lambda _: scene.automatic
    call("segment_image")
    assert docks(viewer) == ["Automatic masks (FoundSeg)"]
    assert [job.task for job in engine.jobs] == ["automatic"]
    choose(qtbot, viewer, "Plugins", "FoundSeg", "Automatic masks (FoundSeg)")
    dock = viewer.window.dock_widgets["Automatic masks (FoundSeg)"]
    qtbot.waitUntil(lambda: dock.current is None)
    assert len(docks(viewer)) == 1, "the menu's entry is that of the same dock"
    qtbot.waitUntil(lambda: not dock.isVisible())
    call("segment_image")
    assert dock.isVisible()
    assert len(engine.jobs) == 2


def test_segment_runs_the_form_that_is_open(viewer: Any, engine: Any, scene: Any) -> None:
    viewer.add_image(scene.image, name="cells")
    open_dock(viewer, "panoptic")
    open_dock(viewer, "semantic")
    assert not engine.jobs
    call("segment_image")
    assert docks(viewer) == ["Panoptic (FoundSeg)", "Semantic (FoundSeg)"]


def test_accept_takes_the_mask_that_is_shown(viewer: Any, engine: Any, scene: Any, said: list[str]) -> None:
    viewer.add_image(scene.image, name="cells")
    call("accept_mask")
    assert "click on an object" in said[-1]
    form = viewer.window.dock_widgets["Prompt (FoundSeg)"]
    assert isinstance(form, PromptWidget)
    call("accept_mask")
    assert "no mask to accept" in form.messages["inputs"].text()


@pytest.mark.usefixtures("engine")
def test_next_image_says_that_the_worklist_is_empty(viewer: Any, said: list[str]) -> None:
    call("next_image")
    assert docks(viewer) == ["Worklist (FoundSeg)"]
    assert "Choose a folder" in said[-1]


def test_a_recipe_is_saved_of_the_last_run(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("save_recipe")
    assert "no run to save" in said[-1]
    viewer.add_image(scene.image, name="cells")
    engine.answer = lambda _: scene.automatic
    call("segment_image")
    form = viewer.window.dock_widgets["Automatic masks (FoundSeg)"]
    assert isinstance(form, AutomaticWidget)
    monkeypatch.setattr(form.last_run, "ask_file", lambda _: str(tmp_path / "saved.yaml"))
    call("save_recipe")
    qtbot.waitUntil((tmp_path / "saved.yaml").exists)
    assert "task: automatic" in (tmp_path / "saved.yaml").read_text()

"""The manifest and the tables that it is made from."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest
import yaml
from napari._app_model.constants import MenuId

from napari_foundseg.tasks import TASKS
from napari_foundseg.widgets import menu
from napari_foundseg.widgets.manifest import COMMAND, PATH, updated_manifest

TEXT = PATH.read_text(encoding="utf-8")
CONTRIBUTIONS = yaml.safe_load(TEXT)["contributions"]


def test_the_manifest_is_as_the_tables_say() -> None:
    assert updated_manifest(TEXT) == TEXT, f"a title, a menu or a dock has changed: run {COMMAND}"


def test_a_changed_title_and_menu_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    task = replace(TASKS["text"], title="Words", menus=("classify",))
    monkeypatch.setitem(TASKS, "text", task)
    changed = yaml.safe_load(updated_manifest(TEXT))["contributions"]
    assert {"command": "napari-foundseg.text", "display_name": "Words"} in changed["widgets"]
    assert {"command": "napari-foundseg.text"} in changed["menus"]["napari/layers/classify"]
    assert {"command": "napari-foundseg.text"} not in changed["menus"]["napari/layers/segment"]


def test_a_manifest_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="put their lines back"):
        updated_manifest(TEXT.replace("# made: docks", ""))


@pytest.mark.parametrize("command", CONTRIBUTIONS["commands"], ids=lambda command: command["id"])
def test_what_a_command_names_exists(command: dict[str, str]) -> None:
    module, _, name = command["python_name"].partition(":")
    assert callable(getattr(import_module(module), name))


def test_every_task_has_a_dock_and_napari_takes_entries_in_its_menus() -> None:
    assert {entry.name for entry in menu.dock_entries()} >= set(TASKS)
    allowed = {str(name) for name in MenuId.contributables()}
    assert set(CONTRIBUTIONS["menus"]) <= allowed | {"napari/layers/measure"}
    assert "napari-foundseg.name_masks" in str(CONTRIBUTIONS["menus"]["napari/layers/classify"])


def test_a_dock_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="no dock of this name"):
        menu.Nothing  # noqa: B018 - its access is what is tested

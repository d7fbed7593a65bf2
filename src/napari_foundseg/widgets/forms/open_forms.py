"""Finding, raising and opening docks by their names in the menu."""

from __future__ import annotations

from typing import Any

from napari_foundseg.tasks import TASKS
from napari_foundseg.widgets.forms.dock import Dock
from napari_foundseg.widgets.forms.dock_tabs import raise_dock

__all__ = ["open_form", "open_models"]

_PLUGIN = "napari-foundseg"
_MODELS = "Models"


def open_form(viewer: Any, task: str) -> Any:
    """Return the form of a task, raised; open it if it is not open yet."""
    for dock in _open_docks(viewer):
        if getattr(getattr(dock, "task", None), "name", None) == task:
            raise_dock(dock)
            return dock
    return _open(viewer, TASKS[task].title)


def open_models(viewer: Any, task: str = "", model: str = "") -> Any:
    """Show the dock *Models* with the models of a task, choose one of them, and return the dock."""
    dock: Any = next((dock for dock in _open_docks(viewer) if type(dock).__name__ == "ModelsWidget"), None)
    if dock is None:
        dock = _open(viewer, _MODELS)
    else:
        raise_dock(dock)
    dock.show_models(task, model)
    return dock


def _open_docks(viewer: Any) -> list[Dock]:
    """Return the open docks of this package, the latest one first."""
    found = [dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, Dock)]
    found.reverse()
    return found


def _open(viewer: Any, title: str) -> Any:
    _, dock = viewer.window.add_plugin_dock_widget(_PLUGIN, title)
    raise_dock(dock)
    return dock

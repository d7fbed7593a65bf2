"""The commands in napari's command palette, in addition to the docks; each acts on the dock in front."""

from __future__ import annotations

import sys
from typing import Any

from napari.layers import Image
from napari.utils.notifications import show_info
from napari.viewer import Viewer

from napari_foundseg.widgets.forms.dock_tabs import raise_dock
from napari_foundseg.widgets.menu import open_dock

__all__ = ["accept_mask", "open_next_image", "save_recipe", "segment_image"]

_FOLDER = "napari_foundseg.widgets"


def segment_image(viewer: Viewer) -> None:
    """Run the form in front on its image; without a form, open *Automatic masks* and run it."""
    if not any(isinstance(layer, Image) for layer in viewer.layers):
        show_info("There is no image to segment. Drop a file on the window, or choose File, Open Sample.")
        return
    forms = [form for form in _docks(viewer, "forms.task_form", "TaskForm") if form.task.name != "prompt"]
    form = forms[0] if forms else open_dock(viewer, "automatic")
    raise_dock(form)
    form.run()


def accept_mask(viewer: Viewer) -> None:
    """Accept the mask that *Prompt* shows."""
    for form in _docks(viewer, "prompt.prompt_dock", "PromptWidget"):
        raise_dock(form)
        form.accept()
        return
    form = open_dock(viewer, "prompt")
    show_info(f"There is no mask to accept. In Prompt press {form.run_text} and click on an object, then accept.")


def open_next_image(viewer: Viewer) -> None:
    """Save the labels of the worklist's image and open the next image."""
    docks = _docks(viewer, "worklist.worklist_dock", "WorklistWidget")
    dock = docks[0] if docks else open_dock(viewer, "worklist")
    raise_dock(dock)
    if dock.session.items:
        dock.next()
    else:
        show_info("The worklist is empty. Choose a folder of images in Worklist, or the open layers.")


def save_recipe(viewer: Viewer) -> None:
    """Save the last run of the form in front as a recipe."""
    for form in _docks(viewer, "forms.task_form", "TaskForm"):
        if form.last_run.record is not None:
            form.last_run.save_recipe()
            return
    show_info("There is no run to save. Run a task on an image first, such as Automatic masks.")


def _docks(viewer: Viewer, module: str, name: str) -> list[Any]:
    """Return the open docks of a class: visible ones first, then by age, the latest first."""
    # If the module was never imported, no dock of its class is open.
    kind = getattr(sys.modules.get(f"{_FOLDER}.{module}"), name, ())
    found = [dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, kind)]
    found.reverse()
    return sorted(found, key=lambda dock: dock.visibleRegion().isEmpty())

"""What napari's menus open: forms whose modules are imported beside the window, which goes on drawing meanwhile.

The first form of a session brings a hundred modules, from a cold disk for seconds. Whoever has a form's module imports
its class from there; these are for the manifest.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any, ClassVar

from napari.viewer import Viewer
from qtpy.QtWidgets import QWidget

from napari_foundseg.widgets.qt.event_loop import draw_until, next_turn
from napari_foundseg.widgets.saved.preferences import wait_for_preferences

__all__ = [
    "Automatic",
    "Batch",
    "Cluster",
    "Correct",
    "NameMasks",
    "Objects",
    "Panoptic",
    "Prompt",
    "Semantic",
    "Text",
    "Worklist",
]

_FOLDER = "napari_foundseg.widgets"


def _imported(name: str) -> Any:
    """Import a module in a thread; the window draws meanwhile, and takes clicks and keys afterwards."""
    wait_for_preferences()
    if name not in sys.modules:
        thread = threading.Thread(target=_try, args=(name,), daemon=True)
        thread.start()
        draw_until(lambda: not thread.is_alive())
    # What went wrong in the thread goes wrong here again, where napari shows it.
    return import_module(name)


def _try(name: str) -> None:
    with suppress(Exception):
        import_module(name)
        # Every form lists models.
        import_module("napari_foundseg.models.catalog").packaged()


class _Opening(QWidget):
    """Made like a form, which it then is: napari wants a widget's class, and looks into it for the viewer."""

    module: ClassVar[str]
    form: ClassVar[str]

    def __new__(cls, napari_viewer: Viewer) -> Any:
        form = getattr(_imported(f"{_FOLDER}.{cls.module}"), cls.form)(napari_viewer)
        # napari lays it out next: the window draws between the two.
        next_turn()
        return form

    def __init__(self, napari_viewer: Viewer) -> None:
        """Never run: the form is of another class."""


def _opens(module: str, form: str) -> type[_Opening]:
    return type(form, (_Opening,), {"module": module, "form": form})


Automatic = _opens("automatic.automatic_dock", "AutomaticWidget")
Prompt = _opens("prompt.prompt_dock", "PromptWidget")
Text = _opens("classes.text_dock", "TextWidget")
Panoptic = _opens("classes.panoptic_dock", "PanopticWidget")
Semantic = _opens("classes.panoptic_dock", "SemanticWidget")
NameMasks = _opens("classes.name_masks_dock", "NameMasksWidget")
Cluster = _opens("cluster.cluster_dock", "ClusterWidget")
Correct = _opens("objects.correct_dock", "CorrectWidget")
Objects = _opens("objects.objects_dock", "ObjectsWidget")
Worklist = _opens("worklist.worklist_dock", "WorklistWidget")
Batch = _opens("batch.batch_dock", "BatchWidget")

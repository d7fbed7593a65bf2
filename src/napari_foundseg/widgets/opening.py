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
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QWidget

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
#: Milliseconds between two looks whether a module is there.
_LOOK = 5


def _imported(name: str) -> Any:
    """Import a module in a thread; the window draws meanwhile, and takes clicks and keys afterwards."""
    if name not in sys.modules:
        thread = threading.Thread(target=_try, args=(name,), daemon=True)
        thread.start()
        loop, timer = QEventLoop(), QTimer()
        timer.timeout.connect(lambda: None if thread.is_alive() else loop.quit())
        timer.start(_LOOK)
        loop.exec(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
        timer.stop()
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
        return getattr(_imported(f"{_FOLDER}.{cls.module}"), cls.form)(napari_viewer)

    def __init__(self, napari_viewer: Viewer) -> None:
        """Never run: the form is of another class."""


class Automatic(_Opening):
    """Opens *Automatic masks*."""

    module, form = "automatic", "AutomaticWidget"


class Prompt(_Opening):
    """Opens *Prompt*."""

    module, form = "prompt", "PromptWidget"


class Text(_Opening):
    """Opens *Text*."""

    module, form = "text", "TextWidget"


class Panoptic(_Opening):
    """Opens *Panoptic*."""

    module, form = "panoptic", "PanopticWidget"


class Semantic(_Opening):
    """Opens *Semantic*."""

    module, form = "panoptic", "SemanticWidget"


class NameMasks(_Opening):
    """Opens *Name the masks*."""

    module, form = "name_masks", "NameMasksWidget"


class Cluster(_Opening):
    """Opens *Cluster*."""

    module, form = "cluster", "ClusterWidget"


class Correct(_Opening):
    """Opens *Correct*."""

    module, form = "correct", "CorrectWidget"


class Objects(_Opening):
    """Opens *Objects*."""

    module, form = "objects_dock", "ObjectsWidget"


class Worklist(_Opening):
    """Opens *Worklist*."""

    module, form = "worklist", "WorklistWidget"


class Batch(_Opening):
    """Opens *Batch*."""

    module, form = "batch", "BatchWidget"

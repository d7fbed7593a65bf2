"""The docks in napari's menus: one for each task that has a form, and those in `OTHER_DOCKS`.

The dock named ``name_masks`` is the class ``NameMasksWidget`` of the module ``name_masks_dock``, in one of the folders
next to this file. The manifest calls it ``menu:NameMasks``, a class that this module makes when it is requested. The
dock's module is then imported in a background thread: the first dock of a session imports a hundred modules, which
takes seconds from a cold disk, and the window must keep drawing. Code that does not need this imports the dock's
class itself. After a change of a title or a menu, run ``python -m napari_foundseg.widgets.manifest``.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any, ClassVar

from napari.viewer import Viewer
from qtpy.QtWidgets import QWidget

from napari_foundseg import widgets
from napari_foundseg.widgets.qt.event_loop import draw_once, draw_until
from napari_foundseg.widgets.saved.preferences import wait_for_preferences

__all__ = ["OTHER_DOCKS", "DockEntry", "dock_entries", "open_dock"]


@dataclass(frozen=True)
class DockEntry:
    """A dock as listed in napari's menus.

    Parameters
    ----------
    name : str
        Its name in this package, such as ``name_masks``.
    title : str
        Its title in the window.
    menus : tuple of str
        Submenus of napari's *Layers* menu that list it; *Plugins › FoundSeg* lists every dock.
    """

    name: str
    title: str
    menus: tuple[str, ...]

    @property
    def opener(self) -> str:
        """Name of the class of this module that opens the dock."""
        return _opener(self.name)


#: The docks that are not the form of a task.
OTHER_DOCKS = (
    DockEntry("correct", "Correct", ("annotate",)),
    DockEntry("objects", "Objects", ("measure",)),
    DockEntry("track", "Track objects", ("track",)),
    DockEntry("worklist", "Worklist", ("annotate",)),
    DockEntry("batch", "Batch", ("segment",)),
    DockEntry("models", "Models", ("segment",)),
    DockEntry("recover", "Recover work", ("annotate",)),
)


def open_dock(viewer: Viewer, name: str) -> Any:
    """Open a dock like its entry in *Plugins › FoundSeg*; that entry then shows and hides the same dock."""
    from napari_foundseg.tasks import TASKS

    titles = {entry.name: entry.title for entry in OTHER_DOCKS}
    title = titles[name] if name in titles else TASKS[name].title
    dock = __getattr__(_opener(name))(viewer)
    viewer.window.add_dock_widget(dock, name=f"{title} (FoundSeg)")
    return dock


def dock_entries() -> list[DockEntry]:
    """Return all docks in the order of *Plugins › FoundSeg*; imports the modules of all tasks."""
    from napari_foundseg.tasks import TASKS

    forms = [DockEntry(name, task.title, task.menus) for name, task in TASKS.items() if _dock_module(name)]
    return [*forms, *OTHER_DOCKS]


def __getattr__(name: str) -> Any:
    """Return the class that opens a dock, such as ``NameMasks``."""
    if name[:1].isupper():
        words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
        if module := _dock_module(words):
            globals()[name] = type(name, (_Opener,), {"module": module, "dock": f"{name}Widget"})
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}, and there is no dock of this name")


def _opener(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _dock_module(name: str) -> str | None:
    folders = [folder.name for folder in iter_modules(widgets.__path__) if folder.ispkg]
    modules = (f"{widgets.__name__}.{folder}.{name}_dock" for folder in folders)
    return next((module for module in modules if find_spec(module) is not None), None)


def _import_in_thread(name: str) -> Any:
    """Import a module in a background thread; the window draws meanwhile, and handles clicks and keys afterwards."""
    wait_for_preferences()
    if name not in sys.modules:
        thread = threading.Thread(target=_try_import, args=(name,), daemon=True)
        thread.start()
        draw_until(lambda: not thread.is_alive())
    # If the import failed in the thread, it fails here again, and napari shows the error.
    return import_module(name)


def _try_import(name: str) -> None:
    with suppress(Exception):
        import_module(name)
        # Every form lists models, so their catalogue is read here, too.
        import_module("napari_foundseg.models.catalog").packaged()


class _Opener(QWidget):
    """Creates the dock instead of an instance of itself; napari reads the parameters of its ``__init__``."""

    module: ClassVar[str]
    dock: ClassVar[str]

    def __new__(cls, napari_viewer: Viewer) -> Any:
        dock = getattr(_import_in_thread(cls.module), cls.dock)(napari_viewer)
        dock.becomes_tab = True
        # napari lays out the dock next; the window draws once in between.
        draw_once()
        return dock

    def __init__(self, napari_viewer: Viewer) -> None:
        """Is never called, since the dock is of another class."""

"""One napari window for the tests of a module, emptied after each of them.

Not for tests with Points layers: in a window that lives on after such layers were removed, the software OpenGL of Mesa
crashes the process with one of the next drawings (vispy 0.17, llvmpipe).
"""

from __future__ import annotations

import gc
import weakref
from typing import Any
from unittest.mock import patch

import napari
import pytest
from napari._app_model._app import NapariApplication, _napari_names
from napari._qt._qapp_model.qactions import init_qactions
from napari._qt.qt_viewer import QtViewer
from napari.plugins import _initialize_plugins
from napari.settings import get_settings
from qtpy.QtCore import QEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from napari_foundseg.widgets.layers.camera import find_camera

__all__ = ["SharedViewer", "open_viewer"]


def open_viewer() -> Any:
    """Open a window, and wait until it is on the screen."""
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    assert QTest.qWaitForWindowExposed(viewer.window._qt_window, 20_000)
    return viewer


def close_viewer(viewer: Any) -> None:
    """Close a window, and see that nothing keeps it alive."""
    if hasattr(viewer.window, "_qt_window"):
        with patch.object(viewer.window._qt_window, "_save_current_window_settings"):
            viewer.close()
    delete_later()
    QApplication.processEvents()
    gc.collect()


def delete_later() -> None:
    """Delete what `deleteLater` was called for."""
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


class SharedViewer:
    """A window that is opened once, or again after a test has closed it."""

    def __init__(self) -> None:
        self._viewer: Any = None
        self._patches = pytest.MonkeyPatch()
        self._app = NapariApplication("test_app")
        self._app.injection_store.namespace = _napari_names
        self._patches.setattr(NapariApplication, "get_app_model", lambda: self._app)
        # As napari's own fixture does: neither a thread for the status bar nor an IPython.
        self._patches.setattr("napari._qt.threads.status_checker.StatusChecker.start", lambda *_: None)
        self._patches.setattr("napari._qt.qt_main_window.SHOW_QT_WARNING", False, raising=False)
        self._patches.setattr("napari._qt.qt_viewer.QtViewer._get_console", _without_console)
        init_qactions.cache_clear()
        _initialize_plugins.cache_clear()

    def open(self) -> Any:
        """Return the window, without layers and docks."""
        if self._viewer is None or not hasattr(self._viewer.window, "_qt_window"):
            get_settings().reset()
            self._viewer = open_viewer()
            self._size = self._viewer.window._qt_window.size()
            self._callbacks = _own_callbacks(self._viewer)  # of what napari opens with each window
        return self._viewer

    def empty(self) -> list[str]:
        """Remove docks and layers, and return what was left behind although none of them is open any more."""
        viewer = self._viewer
        if not hasattr(viewer.window, "_qt_window"):
            close_viewer(viewer)
            return []
        left = [f"dialog {one!r}" for one in _dialogs(viewer)]
        for dialog in _dialogs(viewer):
            dialog.close()
            dialog.deleteLater()
        for dock in list(viewer.window._wrapped_dock_widgets.values()):
            form = dock.inner_widget() if hasattr(dock, "inner_widget") else dock.widget()
            viewer.window.remove_dock_widget(dock)
            form.deleteLater()
        delete_later()
        layers = list(viewer.layers)
        viewer.layers.clear()
        viewer.layers.selection.clear()
        # The history of edited labels follows their layer, not the form, until it is removed.
        for layer in layers:
            left += [f"layer {layer.name!r}: {name}" for name in sorted(_own_callbacks(layer))]
        left += [f"viewer: {name}" for name in sorted(_own_callbacks(viewer) - self._callbacks)]
        self._restore_state()
        if left:
            close_viewer(viewer)  # the next test is not to suffer
        return left

    def _restore_state(self) -> None:
        viewer = self._viewer
        defaults = napari.components.ViewerModel()
        viewer.dims.update(defaults.dims.model_dump())
        find_camera(viewer).update(find_camera(defaults).model_dump())
        viewer.title = defaults.title
        viewer.mouse_over_canvas = False
        settings = get_settings()
        settings.application.plugin_widget_positions = {}
        if viewer.theme != settings.appearance.theme:
            viewer.theme = settings.appearance.theme
        window = viewer.window._qt_window
        if window.size() != self._size:
            window.resize(self._size)
        QApplication.clipboard().clear()
        QApplication.processEvents()

    def close(self) -> None:
        """Close the window, and see that nothing keeps it alive."""
        if self._viewer is not None:
            close_viewer(self._viewer)
            self._viewer = None
        self._patches.undo()
        self._app.destroy("test_app")
        init_qactions.cache_clear()
        _initialize_plugins.cache_clear()
        gc.collect()
        left = len(QtViewer._instances)
        QtViewer._instances.clear()  # not for the next module
        assert not left, f"{left} windows of napari are still alive after they were closed"


def _without_console(*_: Any) -> QWidget:
    widget = QWidget()
    widget._update_theme = lambda *_: None
    return widget


def _dialogs(viewer: Any) -> list[QWidget]:
    """Return the windows that are open beside the viewer's own."""
    own = viewer.window._qt_window
    return [one for one in QApplication.topLevelWidgets() if one.isVisible() and one is not own and not _is_viewer(one)]


def _is_viewer(widget: QWidget) -> bool:
    return type(widget).__name__ == "_QtMainWindow"


def _own_callbacks(owner: Any) -> set[str]:
    """Return in words what of this package is connected to a viewer or a layer: events, the mouse and keys."""
    parts = {"": owner}
    if hasattr(owner, "layers"):
        parts |= {"layers.": owner.layers, "selection.": owner.layers.selection, "dims.": owner.dims}
        parts |= {"camera.": find_camera(owner), "cursor.": owner.cursor}
    found = set()
    for part, model in parts.items():
        for name, emitter in model.events.emitters.items():
            found |= {f"{part}events.{name}: {_described(callback)}" for callback in emitter.callbacks}
    for kind in ("move", "drag", "wheel", "double_click"):
        found |= {f"mouse_{kind}: {_described(callback)}" for callback in getattr(owner, f"mouse_{kind}_callbacks")}
    found |= {f"key {key}: {_described(callback)}" for key, callback in owner.keymap.items()}
    return {text for text in found if "napari_foundseg" in text}


def _described(callback: Any) -> str:
    if isinstance(callback, tuple):
        owner, name = callback
        owner = owner() if isinstance(owner, weakref.ref) else owner
        return f"{type(owner).__module__}.{type(owner).__qualname__}.{name}"
    if isinstance(callback, weakref.ref):
        callback = callback()
    owner = getattr(callback, "__self__", None)
    prefix = "" if owner is None else f"{type(owner).__qualname__}."
    return f"{getattr(callback, '__module__', '')}.{prefix}{getattr(callback, '__qualname__', callback)}"

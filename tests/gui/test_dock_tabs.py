"""Docks that the menu opens are tabs of one another; what the user has arranged stays."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]

ENTRIES = ("Automatic masks", "Prompt", "Objects", "Correct")


def open_entry(viewer: Any, title: str) -> Any:
    dock, _ = viewer.window.add_plugin_dock_widget("napari-foundseg", title)
    QTest.qWait(1)
    return dock


def tabs_of(viewer: Any, dock: Any) -> list[Any]:
    return viewer.window._qt_window.tabifiedDockWidgets(dock)


def in_front(dock: Any) -> bool:
    return not dock.visibleRegion().isEmpty()


def test_four_docks_of_the_menu_are_tabs_and_the_newest_is_in_front(qtbot: Any, viewer: Any, engine: Any) -> None:
    docks = []
    for title in ENTRIES:
        docks.append(open_entry(viewer, title))
        qtbot.waitUntil(lambda: in_front(docks[-1]) and not any(map(in_front, docks[:-1])))
        assert len(tabs_of(viewer, docks[-1])) == len(docks) - 1
        assert docks[-1].height() > viewer.window._qt_window.height() / 2
    docks[0].raise_()
    qtbot.waitUntil(lambda: in_front(docks[0]))
    assert docks[0].height() > viewer.window._qt_window.height() / 2


def test_docks_that_the_user_has_moved_stay(qtbot: Any, viewer: Any, engine: Any) -> None:
    window = viewer.window._qt_window
    floating, left, closed = (open_entry(viewer, title) for title in ENTRIES[:3])
    qtbot.waitUntil(lambda: len(tabs_of(viewer, closed)) == 2)
    floating.setFloating(True)
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, left)
    closed.hide()
    newest = open_entry(viewer, ENTRIES[3])
    qtbot.waitUntil(lambda: in_front(newest))
    assert floating.isFloating()
    assert window.dockWidgetArea(left) == Qt.DockWidgetArea.LeftDockWidgetArea
    assert closed.isHidden()
    assert not {floating, left} & set(tabs_of(viewer, newest))
    # Docks that were parted stay so when they are hidden and shown.
    other = open_entry(viewer, "Batch")
    qtbot.waitUntil(lambda: len(tabs_of(viewer, other)) == 1)
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, other)
    assert not tabs_of(viewer, other)
    other.hide()
    other.show()
    qtbot.waitUntil(lambda: in_front(other))
    assert not tabs_of(viewer, other)
    other.setFloating(False)
    floating.setFloating(False)


def test_a_script_may_stack_docks(qtbot: Any, viewer: Any, engine: Any) -> None:
    docks = [viewer.window.add_dock_widget(AutomaticWidget(viewer), name=name) for name in ("one", "two")]
    qtbot.waitUntil(lambda: all(map(in_front, docks)))
    assert not tabs_of(viewer, docks[0])

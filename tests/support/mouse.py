"""The mouse and the keyboard over a viewer's canvas."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_foundseg.widgets.layers.camera import find_camera


class Canvas:
    """The mouse and the keyboard over a viewer's canvas."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self.native = viewer.window._qt_viewer.canvas.native  # napari has no public name for it

    def place(self, layer: Any, data: tuple[float, ...]) -> Any:
        """The canvas's pixel that shows a data position of a layer."""
        world = np.array(layer.data_to_world(data))[-2:]
        camera = find_camera(self._viewer)
        centre = np.array([self.native.height(), self.native.width()]) / 2
        y, x = (world - np.array(camera.center[-2:])) * camera.zoom + centre
        return QPoint(round(x), round(y))

    def click(
        self,
        layer: Any,
        data: tuple[float, ...],
        modifier: Any = Qt.KeyboardModifier.NoModifier,
        button: Any = Qt.MouseButton.LeftButton,
    ) -> None:
        place = self.place(layer, data)
        QTest.mouseMove(self.native, place)
        QTest.mouseClick(self.native, button, modifier, place)

    def hover(self, layer: Any, data: tuple[float, ...], modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        """Move the pointer without a button."""
        at = QPointF(self.place(layer, data))
        none = Qt.MouseButton.NoButton
        where = QPointF(self.native.mapToGlobal(at.toPoint()))
        QTest.qWait(20)  # napari drops moves that come quickly
        QApplication.sendEvent(self.native, QMouseEvent(QEvent.Type.MouseMove, at, where, none, none, modifier))

    def drag(
        self,
        layer: Any,
        start: tuple[float, ...],
        end: tuple[float, ...],
        modifier: Any = Qt.KeyboardModifier.NoModifier,
        button: Any = Qt.MouseButton.LeftButton,
    ) -> None:
        self.press(layer, start, modifier, button)
        self.move(layer, start, end, modifier, button)
        self.release(layer, end, modifier, button)

    def press(self, layer: Any, data: tuple[float, ...], modifier: Any, button: Any) -> None:
        QTest.mouseMove(self.native, self.place(layer, data))
        QTest.mousePress(self.native, button, modifier, self.place(layer, data))

    def move(self, layer: Any, start: tuple[float, ...], end: tuple[float, ...], modifier: Any, button: Any) -> None:
        first, last = self.place(layer, start), self.place(layer, end)
        for share in (0.3, 0.7, 1.0):
            at = QPointF(first + (last - first) * share)
            # qtbot's own move forgets that the button is held.
            move = QMouseEvent(
                QEvent.Type.MouseMove, at, QPointF(self.native.mapToGlobal(at.toPoint())), Qt.MouseButton.NoButton,
                button, modifier,
            )  # fmt: skip
            QApplication.sendEvent(self.native, move)
            QTest.qWait(20)  # napari drops moves that come quickly

    def release(self, layer: Any, data: tuple[float, ...], modifier: Any, button: Any) -> None:
        QTest.mouseRelease(self.native, button, modifier, self.place(layer, data))

    def key(self, key: Any, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        self.native.setFocus()
        QTest.keyClick(self.native, key, modifier)


def choose(qtbot: Any, viewer: Any, *path: str) -> None:
    """Click a command in the menu bar."""
    menu, opened = viewer.window._qt_window.menuBar(), []
    for text in path:
        action = next(a for a in menu.actions() if a.text().replace("&", "") == text)
        if action.menu() is None:
            qtbot.mouseClick(menu, Qt.MouseButton.LeftButton, pos=menu.actionGeometry(action).center())
            break
        menu = action.menu()
        menu.popup(viewer.window._qt_window.mapToGlobal(QPoint(20, 40)))
        qtbot.waitUntil(menu.isVisible)
        opened.append(menu)
    for menu in reversed(opened):
        menu.close()

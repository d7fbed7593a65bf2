"""What a window manager does: Qt's own `close` makes no spontaneous event."""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any

from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QApplication

__all__ = ["press_x"]


class _Message(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int), ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong), ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5), ("rest", ctypes.c_long * 24),
    )  # fmt: skip


class _XEvent(QCloseEvent):
    def spontaneous(self) -> bool:
        return True


def press_x(window: Any) -> None:
    """Close a window by its X: the window manager's message on X11, elsewhere an event that says it is one."""
    name = ctypes.util.find_library("X11")
    if QApplication.platformName() != "xcb" or name is None:
        QApplication.sendEvent(window, _XEvent())
        return
    x11 = ctypes.CDLL(name)
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    display = ctypes.c_void_p(x11.XOpenDisplay(None))
    protocols = x11.XInternAtom(display, b"WM_PROTOCOLS", 0)
    delete = x11.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
    message = _Message(33, 0, 1, None, int(window.winId()), protocols, 32)  # 33: a client message
    message.data[0] = delete
    x11.XSendEvent(display, ctypes.c_ulong(int(window.winId())), 0, ctypes.c_long(0), ctypes.byref(message))
    x11.XCloseDisplay(display)

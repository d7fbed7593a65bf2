"""Garbage collections that search all objects wait while something is being computed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from qtpy.QtCore import QObject

from napari_foundseg.widgets.qt import late_collections
from napari_foundseg.widgets.qt.late_collections import postpone_collections, resume_collections

pytestmark = pytest.mark.gui


@pytest.fixture(autouse=True)
def usual(qapp: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int, int]]:
    late_collections._timer().setInterval(1)
    late_collections._restore()
    before = gc.get_threshold()
    yield before
    late_collections._busy.clear()
    late_collections._restore()
    late_collections._timer().setInterval(late_collections._QUIET)
    gc.set_threshold(*before)


def test_full_collections_come_back_after_the_last_work(qtbot: Any, usual: tuple[int, int, int]) -> None:
    first, second = QObject(), QObject()
    postpone_collections(first)
    postpone_collections(second)
    resume_collections(first)
    qtbot.wait(20)
    assert gc.get_threshold()[:2] == usual[:2]
    assert gc.get_threshold()[2] >= 100 * usual[2]
    resume_collections(second)
    resume_collections(second)
    qtbot.waitUntil(lambda: gc.get_threshold() == usual)


def test_work_whose_form_is_gone_does_not_hold_them_back(qtbot: Any, usual: tuple[int, int, int]) -> None:
    user: QObject | None = QObject()
    assert user is not None
    postpone_collections(user)
    user = None
    qtbot.waitUntil(lambda: gc.get_threshold() == usual)


def test_thresholds_that_something_else_sets_meanwhile_stay(qtbot: Any) -> None:
    user = QObject()
    postpone_collections(user)
    gc.set_threshold(500, 5, 5)
    resume_collections(user)
    qtbot.waitUntil(lambda: not late_collections._usual)
    assert gc.get_threshold() == (500, 5, 5)

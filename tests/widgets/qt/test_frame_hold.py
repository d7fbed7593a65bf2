"""A prompt and its mask are drawn in one frame, and the window never stands still for long."""

from __future__ import annotations

import time

import pytest
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel, QWidget

from napari_foundseg.widgets.qt.frame_hold import HELD, FrameHold


class Counting(QLabel):
    """Counts how often it is drawn."""

    drawn = 0

    def paintEvent(self, event: object) -> None:
        self.drawn += 1
        super().paintEvent(event)


@pytest.fixture
def label(qtbot: object) -> Counting:
    window = QWidget()
    label = Counting("before", window)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitUntil(lambda: label.drawn > 0)
    label.kept = window  # Python would drop it with this function
    return label


def test_nothing_is_drawn_until_it_is_asked_for(label: Counting) -> None:
    frame, before = FrameHold(), label.drawn
    frame.hold(label.window())
    label.setText("after")
    QTest.qWait(HELD // 3)
    assert label.drawn == before
    frame.draw()
    QTest.qWait(HELD // 3)
    assert label.drawn > before


def test_the_window_draws_again_by_itself_where_no_answer_comes(label: Counting) -> None:
    frame, before = FrameHold(), label.drawn
    frame.hold(label.window())
    label.setText("after")
    began = time.monotonic()
    while label.drawn == before and time.monotonic() - began < 2:
        QTest.qWait(5)
    assert label.drawn > before
    assert label.window().updatesEnabled()


def test_holding_twice_does_not_hold_longer(label: Counting) -> None:
    frame = FrameHold()
    frame.hold(label.window())
    frame.hold(label.window())
    frame.draw()
    assert label.window().updatesEnabled()


def test_a_window_that_another_holds_stays_held(label: Counting) -> None:
    label.window().setUpdatesEnabled(False)
    frame = FrameHold()
    frame.hold(label.window())
    frame.draw()
    assert not label.window().updatesEnabled()

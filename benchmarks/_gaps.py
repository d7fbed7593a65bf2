"""How long the window does not answer: the largest time between two ticks of a timer, by the clock and by work."""

from __future__ import annotations

import time
from typing import Self

from qtpy.QtCore import QTimer


class Gaps:
    """Largest time in seconds between two ticks of a 5 ms timer, and the most work of this thread between two.

    The work is the processor's time, which other programs on a busy computer do not lengthen; what the thread waits
    for, such as drawing by other threads, is not in it.
    """

    def __init__(self) -> None:
        self.timer = QTimer()
        self.timer.setInterval(5)
        self.timer.timeout.connect(self.tick)
        self.last = self.largest = self.worked = self.busiest = 0.0

    def __enter__(self) -> Self:
        self.last, self.largest = time.perf_counter(), 0.0
        self.worked, self.busiest = time.thread_time(), 0.0
        self.timer.start()
        return self

    def tick(self) -> None:
        now = time.perf_counter()
        self.largest = max(self.largest, now - self.last)
        self.last = now
        worked = time.thread_time()
        self.busiest = max(self.busiest, worked - self.worked)
        self.worked = worked

    def __exit__(self, *_: object) -> None:
        self.tick()
        self.timer.stop()

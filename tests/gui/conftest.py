from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from napari_foundseg.core.errors import Cancelled, FoundsegError
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.result import Segmentation, object_table
from napari_foundseg.widgets import jobs


class FakeJob:
    """What the window sees of an engine's job; the test says how it ends."""

    def __init__(self, task: str, arguments: tuple[Any, ...], progress: Any, done: Any, replace: str | None) -> None:
        self.task, self.arguments, self.replace = task, arguments, replace
        self.progress, self._done = progress, done
        self.state, self.result, self.error = "running", None, None

    def finish(self, result: Segmentation) -> None:
        self.state, self.result = "done", result
        self._done(self)

    def fail(self, error: FoundsegError) -> None:
        self.state, self.error = "failed", error
        self._done(self)

    def cancel(self) -> None:
        if self.state == "running":
            self.state, self.error = "cancelled", Cancelled("cancelled")
            self._done(self)


class FakeEngine:
    def __init__(self) -> None:
        self.jobs: list[FakeJob] = []
        self.answer: Callable[[FakeJob], Segmentation] | None = None

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    def diagnostics(self) -> dict[str, Any]:
        return {"device": "cpu"}

    def submit(self, task: str, *arguments: Any, progress: Any, done: Any, replace: str | None = None) -> FakeJob:
        job = FakeJob(task, arguments, progress, done, replace)
        self.jobs.append(job)
        if self.answer is not None:
            job.finish(self.answer(job))
        return job


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FOUNDSEG_ENGINE", raising=False)
    yield
    jobs.close_engine()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr(jobs, "make_engine", lambda *_: fake)
    jobs.close_engine()
    return fake


class Canvas:
    """The mouse and the keyboard over a viewer's canvas."""

    def __init__(self, qtbot: Any, viewer: Any) -> None:
        self._qtbot, self._viewer = qtbot, viewer
        self.native = viewer.window._qt_viewer.canvas.native  # napari has no public name for it

    def place(self, layer: Any, data: tuple[float, ...]) -> Any:
        """The canvas's pixel that shows a data position of a layer."""
        world = np.array(layer.data_to_world(data))[-2:]
        camera = self._viewer.scene.camera
        centre = np.array([self.native.height(), self.native.width()]) / 2
        y, x = (world - np.array(camera.center[-2:])) * camera.zoom + centre
        return QPoint(round(x), round(y))

    def click(self, layer: Any, data: tuple[float, ...], modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        place = self.place(layer, data)
        self._qtbot.mouseMove(self.native, place)
        self._qtbot.mouseClick(self.native, Qt.MouseButton.LeftButton, modifier, place)

    def drag(self, layer: Any, start: tuple[float, ...], end: tuple[float, ...]) -> None:
        first, last = self.place(layer, start), self.place(layer, end)
        self._qtbot.mouseMove(self.native, first)
        self._qtbot.mousePress(self.native, Qt.MouseButton.LeftButton, pos=first)
        for share in (0.3, 0.7, 1.0):
            at = QPointF(first + (last - first) * share)
            # qtbot's own move forgets that the button is held.
            move = QMouseEvent(
                QEvent.Type.MouseMove, at, QPointF(self.native.mapToGlobal(at.toPoint())), Qt.MouseButton.NoButton,
                Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier,
            )  # fmt: skip
            QApplication.sendEvent(self.native, move)
            self._qtbot.wait(20)  # napari drops moves that come quickly
        self._qtbot.mouseRelease(self.native, Qt.MouseButton.LeftButton, pos=last)

    def key(self, key: Any, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        self.native.setFocus()
        self._qtbot.keyClick(self.native, key, modifier)


@pytest.fixture
def viewer(make_napari_viewer: Any) -> Any:
    return make_napari_viewer(show=True)


@pytest.fixture
def canvas(qtbot: Any, viewer: Any) -> Canvas:
    return Canvas(qtbot, viewer)


def disc(shape: tuple[int, int], y: int, x: int, radius: int) -> np.ndarray[Any, Any]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


@pytest.fixture
def scene() -> SimpleNamespace:
    labels = np.zeros((128, 160), np.uint16)
    labels[disc(labels.shape, 40, 50, 15)] = 1
    labels[disc(labels.shape, 90, 110, 20)] = 2
    image = np.where(labels > 0, 2000, 100).astype(np.uint16)
    table = object_table(labels, "YX", predicted_iou=[0.9, 0.8], stability_score=[0.9, 0.8])
    masks = (
        Mask.from_array(labels == 1, predicted_iou=0.9, label=1),
        Mask.from_array(disc(labels.shape, 40, 50, 8), predicted_iou=0.7, label=1),
        Mask.from_array(disc(labels.shape, 40, 50, 25), predicted_iou=0.5, label=1),
    )
    automatic = Segmentation(labels, table, {1: "object"}, {"task": "automatic", "inputs": {}})
    one = np.where(labels == 1, labels, 0)
    prompted = Segmentation(one, table.iloc[:1], {1: "object"}, {"task": "prompt"}, masks=masks)
    return SimpleNamespace(image=image, automatic=automatic, prompted=prompted, masks=masks)

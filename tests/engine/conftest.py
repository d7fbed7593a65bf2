"""Real child processes, with a task that misbehaves on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from napari_foundseg.core.image import Image
from napari_foundseg.engine.client import Engine
from napari_foundseg.engine.link import Link
from napari_foundseg.tasks import TASKS
from tests.support import WORKER_SITE, fake_tasks, python_path
from tests.support.asking import submit


@pytest.fixture(autouse=True)
def _fake_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", python_path(WORKER_SITE))
    monkeypatch.setitem(TASKS, "fake", fake_tasks.TASK)


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(**options: Any) -> Engine:
        made.append(Engine(**options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def engine(make_engine: Callable[..., Engine], image: Image) -> Engine:
    """A running engine."""
    made = make_engine()
    submit(made, image).wait(30)
    return made


@pytest.fixture
def image() -> Image:
    return Image(np.random.default_rng(0).integers(0, 4000, (64, 80), dtype=np.uint16))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is sent to the actor: the method and the number of planes of pixels with it."""
    calls: list[tuple[str, int]] = []
    original = Link.ask

    def ask(self: Link, method: str, *args: Any) -> Any:
        planes = len(args[1]) if method == "run" else int(args[-1] is not None)
        calls.append((method, planes))
        return original(self, method, *args)

    monkeypatch.setattr(Link, "ask", ask)
    return calls

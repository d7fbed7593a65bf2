"""What the tests ask an engine for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psutil

from napari_foundseg.core.image import Image
from napari_foundseg.engine.client import Engine, Job
from napari_foundseg.tasks.run_request import RunRequest
from tests.support import fake_tasks


def submit(engine: Engine, image: Image, act: str = "threshold", *, index: Any = None, **options: Any) -> Job:
    settings = fake_tasks.FakeSettings(act=act, seconds=options.pop("seconds", 0))
    model = options.pop("model", "foundseg-tiny")
    request = RunRequest("fake", image, fake_tasks.FakeInputs(index=index), settings, model)
    return engine.submit(request, **options)


def wait_until(condition: Callable[[], Any], seconds: float = 10) -> float:
    """Return after how many seconds the condition held."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it did not happen in time"
        time.sleep(0.005)
    return time.monotonic() - start


def running(engine: Engine, image: Image, act: str, **options: Any) -> Job:
    """Submit and wait until the worker has begun it."""
    begun = threading.Event()
    job = submit(engine, image, act, progress=lambda *_: begun.set(), **options)
    assert begun.wait(60)
    return job


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE

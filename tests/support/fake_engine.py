"""An engine that runs nothing: the test says how each job ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from napari_foundseg.core.errors import Cancelled, FoundsegError
from napari_foundseg.core.result import Segmentation
from napari_foundseg.engine.background_work import BackgroundWork
from napari_foundseg.engine.stages import StageContext, call_stage
from napari_foundseg.tasks.run_request import RunRequest


class FakeJob:
    """What the window sees of an engine's job; the test says how it ends."""

    def __init__(self, request: RunRequest, progress: Any, done: Any, replace: str | None) -> None:
        self.request, self.replace = request, replace
        self.task = request.task
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

    def submit(self, request: RunRequest, *, progress: Any, done: Any, replace: str | None = None) -> FakeJob:
        job = FakeJob(request, progress, done, replace)
        self.jobs.append(job)
        if self.answer is not None:
            job.finish(self.answer(job))
        return job

    def work(self, function: Any, argument: Any, *, computes: bool = False, progress: Any, done: Any) -> BackgroundWork:
        """Call the function in a thread of this process."""
        work = BackgroundWork(function, argument, computes=computes, progress=progress, on_end=done)
        cancelled = threading.Event()
        work._cancel = cancelled.set

        def call() -> None:
            context = StageContext("cpu", work.report, cancelled.is_set)
            answer = call_stage(function, argument, context)
            work.end(answer.value, answer.error)

        threading.Thread(target=call, daemon=True).start()
        return work

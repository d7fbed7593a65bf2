"""Work in stages: while a worker computes one item, it reads the next and writes the previous one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.engine.error_translation import named_error

if TYPE_CHECKING:
    from napari_foundseg.tasks.settings import Progress

__all__ = ["Answer", "Ended", "Stage", "StageContext", "Stages", "call_stage", "single_stage"]

#: A function that the worker can import; its argument is the order, or the return value of the previous stage.
Stage = Callable[[Any, "StageContext"], Any]


@dataclass(frozen=True)
class Ended:
    """Returned by a stage to skip the remaining stages.

    Parameters
    ----------
    value : object
        The result of the work.
    """

    value: Any


@dataclass(frozen=True)
class Answer:
    """The result of work: a value, or the error that a stage raised."""

    value: Any
    error: FoundsegError | None


@dataclass(frozen=True)
class StageContext:
    """The services that a worker offers to a stage.

    Parameters
    ----------
    device : str or None
        Device for models.
    progress : callable
        To be called with the share that is done (0 to 1) and a description.
    cancelled : callable
        Returns whether to stop; to be called regularly.
    """

    device: str | None
    progress: Progress
    cancelled: Callable[[], bool]

    def model(self, name: str, protocol: str | None = None) -> Any:
        """Return a loaded model; the worker caches the last few."""
        from napari_foundseg.models.loading import load_model

        return load_model(name, device=self.device, protocol=protocol)


class Stages:
    """The threads of a worker: one reads, one computes, one writes, so that each holds at most one item.

    Parameters
    ----------
    compute : Executor
        The thread that computes; the worker's other runs use it too.
    """

    def __init__(self, compute: Executor) -> None:
        self._threads = (
            ThreadPoolExecutor(1, thread_name_prefix="foundseg-read"),
            compute,
            ThreadPoolExecutor(1, thread_name_prefix="foundseg-write"),
        )

    async def run(self, stages: Sequence[Stage], order: Any, context: StageContext) -> Answer:
        """Pass an order through the stages; an error is returned in the answer."""
        loop = asyncio.get_running_loop()
        answer = Answer(order, None)
        for stage, thread in zip(stages, self._threads, strict=True):
            answer = await loop.run_in_executor(thread, call_stage, stage, answer.value, context)
            if answer.error is not None:
                break
            if isinstance(answer.value, Ended):
                return Answer(answer.value.value, None)
        return answer


def call_stage(stage: Stage, value: Any, context: StageContext) -> Answer:
    """Call a stage; an error that it raises is returned in the answer."""
    try:
        return Answer(stage(value, context), None)
    except BaseException as error:  # noqa: BLE001 - SystemExit of a library would end the worker's event loop
        shown = named_error(error)
        # The traceback's frames would keep the arrays that did not fit into memory.
        error.__traceback__ = None
        return Answer(None, shown)


def single_stage(function: Stage) -> tuple[Stage, Stage, Stage]:
    """Return stages that only call one function, on the reading thread, so that it does not wait for computations."""
    return (partial(_call_and_end, function), _pass_on, _pass_on)


def _call_and_end(function: Stage, value: Any, context: StageContext) -> Ended:
    return Ended(function(value, context))


def _pass_on(value: Any, context: StageContext) -> Any:  # noqa: ARG001 - a stage
    return value

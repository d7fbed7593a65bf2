"""Work in stages: while one item is computed, the next is read and the last is written, in the same worker."""

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

__all__ = ["Answer", "Ended", "Stage", "StageContext", "Stages", "single_stage"]

#: A function that its worker can import: it gets what the stage before returned, the first one the order.
Stage = Callable[[Any, "StageContext"], Any]


@dataclass(frozen=True)
class Ended:
    """What a stage returns where the stages after it have nothing to do.

    Parameters
    ----------
    value : object
        The work's result.
    """

    value: Any


@dataclass(frozen=True)
class Answer:
    """What a work ended with: a value, or the error that a stage raised."""

    value: Any
    error: FoundsegError | None


@dataclass(frozen=True)
class StageContext:
    """What a stage may ask of its worker.

    Parameters
    ----------
    device : str or None
        Where models run.
    progress : callable
        Told the share done (0 to 1) and words.
    cancelled : callable
        Says whether to stop; to be asked now and then.
    """

    device: str | None
    progress: Progress
    cancelled: Callable[[], bool]

    def model(self, name: str, protocol: str | None = None) -> Any:
        """Return a loaded model; the worker keeps the last few.

        Parameters
        ----------
        name : str
            A name of the catalogue.
        protocol : str, optional
            Name of the protocol that it must implement.

        Returns
        -------
        loaded model
            On the worker's device.

        Raises
        ------
        ModelNotFoundError
            If the name is unknown or the model does not implement the protocol.
        CheckpointError
            If its weights are missing or damaged.
        """
        from napari_foundseg.models.loading import load_model

        return load_model(name, device=self.device, protocol=protocol)


class Stages:
    """The threads of a worker: one reads, one computes, one writes, so that each holds one item at most.

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
        """Pass an order through the stages.

        Parameters
        ----------
        stages : sequence of three callables
            What reads, what computes, what writes.
        order : object
            What the first is given.
        context : StageContext
            What each is given besides.

        Returns
        -------
        Answer
            Never raises.
        """
        loop, answer = asyncio.get_running_loop(), Answer(order, None)
        for stage, thread in zip(stages, self._threads, strict=True):
            answer = await loop.run_in_executor(thread, _answer, stage, answer.value, context)
            if answer.error is not None:
                break
            if isinstance(answer.value, Ended):
                return Answer(answer.value.value, None)
        return answer


def _answer(stage: Stage, value: Any, context: StageContext) -> Answer:
    try:
        return Answer(stage(value, context), None)
    except BaseException as error:  # noqa: BLE001 - SystemExit of a library would end the worker's event loop
        shown = named_error(error)
        # Frames hold the arrays that were too large.
        error.__traceback__ = None
        return Answer(None, shown)


def single_stage(function: Stage) -> tuple[Stage, Stage, Stage]:
    """Return stages that call one function only, on the thread that reads, so that it waits for no computation."""
    return (partial(_call_and_end, function), _pass_on, _pass_on)


def _call_and_end(function: Stage, value: Any, context: StageContext) -> Ended:
    return Ended(function(value, context))


def _pass_on(value: Any, context: StageContext) -> Any:  # noqa: ARG001 - a stage
    return value

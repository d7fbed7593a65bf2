"""Public functions that run in this process if that is safe, and otherwise in a separate process."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from functools import wraps
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from napari_foundseg.core.errors import EngineError
from napari_foundseg.models.torch_import import is_torch_unsafe
from napari_foundseg.tasks import running

if TYPE_CHECKING:
    from concurrent.futures import Future

    from napari_foundseg.engine.pool import Pool
    from napari_foundseg.engine.stages import StageContext

__all__ = ["run", "safe_beside_window"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 5.0
_pools: list[Pool] = []
_lock = threading.Lock()


def safe_beside_window(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a function so that it runs in a separate process if importing torch could crash this one."""

    @wraps(function)
    def called(*values: _P.args, **options: _P.kwargs) -> _T:
        if not is_torch_unsafe():
            return function(*values, **options)
        answer: _T = _call_apart(function.__module__, function.__qualname__, values, dict(options))
        return answer

    return called


run = safe_beside_window(running.run)


def _call_apart(module: str, name: str, values: tuple[Any, ...], options: dict[str, Any]) -> Any:
    from distributed.protocol.pickle import dumps

    progress = options.pop("progress", None)
    order = (module, name, values, options, progress is not None)
    try:
        # Only tests whether it can be pickled; arrays are not copied.
        dumps(order, buffer_callback=lambda _: None)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise EngineError(
            f"{name} runs in a process of its own beside a window, and what it was given cannot be sent there "
            f"({type(error).__name__}: {error!s:.200}). Give arrays, the path of a file, and names of models."
        ) from error
    news: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
    pool = _shared_pool()
    future = pool.submit((_pass_on, _call, _pass_on), order, lambda *told: news.put(told))
    try:
        _tell(future, news, progress)
    except BaseException:
        pool.cancel(_GRACE_SECONDS)
        raise
    return future.result()


def _tell(future: Future[Any], news: SimpleQueue[tuple[Any, ...]], progress: Any) -> None:
    """Report the progress in the caller's thread until there is an answer."""
    future.add_done_callback(lambda _: news.put((1.0, "")))
    while not (future.done() and news.empty()):
        try:
            told = news.get(timeout=_POLL_SECONDS)
        except Empty:
            continue
        if progress is not None and told[1]:
            progress(*told)


def _shared_pool() -> Pool:
    from napari_foundseg.engine.pool import Pool

    with _lock:
        if not _pools:
            _pools.append(Pool(1))
            atexit.register(_close)
        return _pools[0]


def _close() -> None:
    while _pools:
        _pools.pop().close()


def _call(order: tuple[str, str, tuple[Any, ...], dict[str, Any], bool], context: StageContext) -> Any:
    """Call the function; this runs in the separate process."""
    from importlib import import_module

    module, name, values, options, told = order
    more = {"progress": context.progress} if told else {}
    return getattr(import_module(module), name)(*values, **options, **more)


def _pass_on(value: Any, context: StageContext) -> Any:  # noqa: ARG001 - a stage
    return value

"""The actor of a worker, which loads models, stores planes and runs tasks on a separate thread."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_foundseg.core.errors import BadImageError, Cancelled, EngineError, FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.engine.error_translation import named_error
from napari_foundseg.engine.image_planes import Index, PlaneStore, SentImage, plane_key, read_plane
from napari_foundseg.engine.shown_parts import packed
from napari_foundseg.engine.stages import Answer, StageContext, Stages, call_stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_foundseg.core.result import Segmentation

__all__ = ["RunOutcome", "TaskRunner", "check_row", "request_cancel", "versions"]

#: Bytes of planes that are stored between runs.
KEPT_BYTES = 1 << 30
#: Bytes of planes that are stored for a run that reads each slice of a stack once.
_PASSING_BYTES = 64 << 20
_PROGRESS_SECONDS = 0.05
#: Maximum number of calls in parallel with a run, such as downloads; further ones wait.
_BESIDE = 8
T = TypeVar("T")

_cancelled: set[str] = set()


@dataclass(frozen=True)
class RunOutcome:
    """The result of a run: a segmentation or an error."""

    segmentation: Segmentation | None
    error: FoundsegError | None
    device: str | None
    #: Partial results that were not sent before the end.
    shown: dict[str, Any] | None = None


def versions() -> dict[str, str]:
    """Return the versions that must be equal in window and worker, since pickles of other versions may be misread."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python} | {name: version(name) for name in ("napari-foundseg", "distributed", "numpy")}


def facts() -> dict[str, Any]:
    """Return process number and versions, for diagnostics."""
    return {"pid": os.getpid(), "versions": versions()}


async def request_cancel(job: str) -> None:
    """Ask a run to stop; the task checks the flag once per batch.

    A coroutine, since distributed calls only coroutines without waiting for them.
    """
    _cancelled.add(job)


class TaskRunner:
    """The actor, one per worker, shared by the windows that use the worker.

    Its methods are coroutines, since the synchronous methods of all actors share one thread and would block each other.
    Tasks compute on a separate thread, one run after another.
    """

    def __init__(self) -> None:
        from distributed import get_worker

        self._worker = get_worker()
        self._compute = ThreadPoolExecutor(1, thread_name_prefix="foundseg-compute")
        self._stages = Stages(self._compute)
        self._beside = ThreadPoolExecutor(_BESIDE, thread_name_prefix="foundseg-beside")
        self._store = PlaneStore(KEPT_BYTES)
        self._files = _OpenedFile()
        self._fetchers: dict[str, _PlaneFetcher] = {}

    async def run(self, request: dict[str, Any], planes: dict[str, NDArray[Any]]) -> RunOutcome:
        """Run a task on an image, with some of its planes by key; an error is returned in the outcome."""
        job = request["job"]
        store = PlaneStore(_PASSING_BYTES) if request["reads_once"] else self._store
        for key, plane in planes.items():
            store.put(key, plane)
        reporter = _RunReporter(self._worker, request["topic"], job)
        fetcher = _PlaneFetcher(request, store, self._files, reporter)
        self._fetchers[job] = fetcher
        try:
            running = asyncio.get_running_loop().run_in_executor(self._compute, _outcome, request, fetcher, reporter)
            outcome = await reporter.while_running(running)
            return replace(outcome, shown=reporter.left())
        finally:
            del self._fetchers[job]
            _cancelled.discard(job)

    async def answer(self) -> None:
        """Return, so that the window can tell that this process still responds."""

    async def work(self, request: dict[str, Any]) -> Answer:
        """Call a function in parallel with the runs; one that computes waits its turn among them."""
        reporter = _RunReporter(self._worker, request["topic"], request["job"])
        context = StageContext(request["device"], reporter.progress, reporter.cancelled)
        thread = self._compute if request["computes"] else self._beside
        try:
            running = asyncio.get_running_loop().run_in_executor(
                thread, call_stage, request["function"], request["argument"], context
            )
            return await reporter.while_running(running)
        finally:
            _cancelled.discard(request["job"])

    async def stages(self, request: dict[str, Any]) -> Answer:
        """Pass an order through stages, in parallel with other orders."""
        reporter = _RunReporter(self._worker, request["topic"], request["job"])
        context = StageContext(request["device"], reporter.progress, reporter.cancelled)
        try:
            running = asyncio.ensure_future(self._stages.run(request["stages"], request["order"], context))
            answer = await reporter.while_running(running)
        finally:
            _cancelled.discard(request["job"])
        if answer.error is not None:
            _free_device_memory()
        return answer

    async def deliver(self, job: str, index: Index, key: str, plane: NDArray[Any] | None) -> None:
        """Receive a plane that a run requested; None if its key should suffice."""
        if job in self._fetchers:
            self._fetchers[job].offer(index, key, plane)

    async def refuse(self, job: str, index: Index, why: str) -> None:
        """Receive the reason why a plane that a run requested cannot be read."""
        if job in self._fetchers:
            self._fetchers[job].refuse(index, why)


class _RunReporter:
    """Sends messages of a run to the window."""

    def __init__(self, worker: Any, topic: str, job: str) -> None:
        self._worker = worker
        self._topic = topic
        self._job = job
        self._latest_progress: dict[str, Any] = {}

    def __call__(self, **message: Any) -> None:
        self._worker.log_event(self._topic, {"job": self._job, **message})

    def progress(self, share: float, words: str, shown: dict[str, Any] | None = None) -> None:
        # Partial results are sent with the next progress, not separately: the latest values, and all parts.
        waiting = self._latest_progress.get("shown") or {}
        if parts := [*waiting.get("parts", ()), *(shown or {}).get("parts", ())]:
            shown = {**waiting, **(shown or {}), "parts": parts}
        shown = shown or waiting
        self._latest_progress = {"share": float(share), "words": str(words), **({"shown": shown} if shown else {})}

    async def while_running(self, running: asyncio.Future[T]) -> T:
        # A run that ends quickly sends only its answer, since each progress message redraws the window.
        while not (await asyncio.wait([running], timeout=_PROGRESS_SECONDS))[0]:
            self._send_progress()
        return running.result()

    def left(self) -> dict[str, Any] | None:
        """Return partial results that were not sent: they travel with the answer, since a message could be lost."""
        shown = self._latest_progress.get("shown") or {}
        return packed(shown) if shown.get("parts") else None

    def _send_progress(self) -> None:
        progress = self._latest_progress
        self._latest_progress = {}
        if progress:
            shown = progress.get("shown")
            self(**{**progress, **({"shown": packed(shown)} if shown else {})})

    def cancelled(self) -> bool:
        return self._job in _cancelled


class _PlaneFetcher:
    """Finds the planes of a run: in the store, in the file, or from the window."""

    def __init__(self, request: dict[str, Any], store: PlaneStore, files: _OpenedFile, reporter: _RunReporter) -> None:
        self._described = request["image"]
        self._exact = request["exact"]
        self._keys: dict[Index, str] = dict(request["keys"])
        self._store = store
        self._files = files
        self._reporter = reporter
        self._arrived = threading.Condition()
        self._offered: dict[Index, str] = {}
        self._refused: dict[Index, str] = {}

    def __call__(self, index: Index) -> NDArray[Any]:
        plane = self._found(index)
        for pixels in (False, True):
            if plane is not None:
                return plane
            # Pixels are requested only if the key alone did not suffice.
            if not pixels and index in self._keys:
                continue
            self._ask(index, pixels=pixels)
            plane = self._found(index)
        if plane is None:
            raise EngineError(f"Slice {index} of the image did not arrive. Run again.")
        return plane

    def offer(self, index: Index, key: str, plane: NDArray[Any] | None) -> None:
        if plane is not None:
            self._store.put(key, plane)
        with self._arrived:
            self._offered[index] = key
            self._arrived.notify_all()

    def refuse(self, index: Index, why: str) -> None:
        with self._arrived:
            self._refused[index] = why
            self._arrived.notify_all()

    def _found(self, index: Index) -> NDArray[Any] | None:
        key = self._keys.get(index)
        plane = self._store.get(key)
        if plane is not None or self._described["source"] is None or (key is None and self._exact):
            return plane
        plane = self._files.plane(self._described, index, exact=self._exact)
        if plane is None:
            return None
        found = plane_key(plane)
        if self._exact and found != key:
            return None
        self._keys[index] = found
        self._store.put(found, plane)
        return plane

    def _ask(self, index: Index, *, pixels: bool) -> None:
        with self._arrived:
            self._offered.pop(index, None)
            self._reporter(need=list(index), pixels=pixels)
            while not self._arrived.wait_for(lambda: index in self._offered or index in self._refused, timeout=0.1):
                if self._reporter.cancelled():
                    raise Cancelled("The run was cancelled.")
            if index in self._refused:
                raise BadImageError(self._described["source"], self._refused.pop(index))
            self._keys[index] = self._offered.pop(index)


class _OpenedFile:
    """The file that was opened last, if it fits the window's image."""

    def __init__(self) -> None:
        self._state: Any = None
        self._image: Image | None = None

    def plane(self, described: dict[str, Any], index: Index, *, exact: bool) -> NDArray[Any] | None:
        try:
            image = self._opened(described)
            if image is None or (not exact and image.fingerprint() != described["fingerprint"]):
                return None
            return read_plane(image, index)
        except Exception:  # noqa: BLE001 - whatever keeps the file from being read, the window sends its pixels
            return None

    def _opened(self, described: dict[str, Any]) -> Image | None:
        from napari_foundseg.io.readers import read_image

        path = Path(described["source"])
        stat = path.stat()
        slab = described["slab"]
        state = (path, stat.st_mtime_ns, stat.st_size, described["axes"], described["channels"], repr(slab))
        if state != self._state:
            self._state = state
            self._image = None
            opened = read_image(path)
            image = Image(opened.data, described["axes"], described["channels"], source=str(path), slab=slab)
            fits = tuple(image.levels[0].shape) == described["shape"] and image.dtype.str == described["dtype"]
            self._image = image if fits else None
        return self._image


def _outcome(request: dict[str, Any], fetcher: _PlaneFetcher, reporter: _RunReporter) -> RunOutcome:
    device: list[str] = []
    try:
        return RunOutcome(_run(request, fetcher, reporter, device.append), None, device[0] if device else None)
    except BaseException as error:  # noqa: BLE001 - SystemExit of a library must not be lost with the thread
        shown = named_error(error)
        # The traceback's frames would keep the arrays that did not fit into memory.
        error.__traceback__ = None
    _free_device_memory()
    return RunOutcome(None, shown, device[0] if device else None)


def _run(
    request: dict[str, Any], fetcher: _PlaneFetcher, reporter: _RunReporter, on_device: Callable[[str], None]
) -> Segmentation:
    from napari_foundseg.models.loading import load_model
    from napari_foundseg.tasks import find_task

    if reporter.cancelled():
        raise Cancelled("The run was cancelled.")
    task = find_task(request["task"])
    inputs = task.inputs.parse(request["inputs"])
    settings = task.settings(request["method"], request["settings"])
    check_row(request["row"])
    reporter.progress(0.0, f"loading {request['row']['title']}")
    model = load_model(request["row"]["name"], device=request["device"], protocol=task.protocols[request["method"]])
    on_device(str(getattr(model, "device", "unknown")))
    image = SentImage(request["image"], fetcher)
    return task.run(image, inputs, settings, model, reporter.progress, reporter.cancelled)


def check_row(expected: dict[str, Any]) -> None:
    """Check that the window's model equals the one installed here; add a model that is missing in this catalogue.

    Paths of weights may differ between computers; equal hashes mean that the weights are the same.
    """
    from napari_foundseg.models.catalog import UNVERIFIED, CatalogRow, adopt, catalog

    mine = catalog().get(expected["name"])
    if mine is None:
        adopt(CatalogRow.parse(expected))
        return
    here = {name: value for name, value in mine.as_json().items() if name not in ("file", "source")}
    if expected.get("sha256") == UNVERIFIED:
        # The window sent the request before the hash was recorded.
        del here["sha256"]
    if differing := [name for name in here if here[name] != expected.get(name)]:
        raise EngineError(
            f"The worker's catalogue has another {expected['name']} (different: {', '.join(differing)}). "
            "Install the same napari-foundseg and the same weights on both computers."
        )


def _free_device_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()

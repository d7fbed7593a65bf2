"""`Runner`: runs the items of a batch on several workers, and reports the outcome of each."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal

from napari_foundseg.batch.common_size import choose_sample, read_sizes
from napari_foundseg.batch.item_stages import STAGES, ItemOutcome, ItemState, Order, find_finished
from napari_foundseg.batch.items import BatchItem, list_items, output_folder
from napari_foundseg.batch.ledger import open_folder, thumbnail_path
from napari_foundseg.batch.report import Report, make_entry, write_report
from napari_foundseg.batch.shared_files import check_shared_files, mark_shared_files
from napari_foundseg.core.errors import Cancelled, EngineStartError, OutputError, WorkerLostError
from napari_foundseg.engine.pool import Pool
from napari_foundseg.engine.worker_source import find_worker_source
from napari_foundseg.io.atomic import sweep
from napari_foundseg.io.naming import LABELS_SUFFIX, join_name
from napari_foundseg.io.output_paths import find_files, refuse_inputs
from napari_foundseg.models.catalog import row
from napari_foundseg.tasks.provenance import versions

if TYPE_CHECKING:
    from napari_foundseg.batch.recipe import Recipe

__all__ = ["OnChange", "RunState", "Runner"]

_log = logging.getLogger(__name__)
RunState = Literal["waiting", "running"] | ItemState
#: Called with the item, its state, its outcome if it has one, the share that is done and a description.
OnChange = Callable[[BatchItem, RunState, ItemOutcome | None, float, str], None]

#: Items per worker: one is read, one computed, one written. More would only take memory.
_PER_WORKER = 3
#: Number of worker deaths after which an item is not tried again.
_DEATHS = 2
#: Seconds until an item that another run has locked is tried again.
_ELSEWHERE_SECONDS = 1.0
_POLL_SECONDS = 0.05
#: Seconds that running items get to stop before their workers are ended. A whole stop takes less than 5 s.
_STOP_SECONDS = 3.0
#: Number of finished items that the time estimate uses.
_LOOK_BACK = 30
_BY_USER = "stopped by the user"


class Runner:
    """Runs the items of a recipe.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    folder : Path
        The folder to which the recipe's paths are relative.
    out : Path, optional
        Folder of the results; by default the recipe's.
    workers : int or None
        Number of workers. None: one process on this computer, or all workers of a scheduler.
    on_change : callable, optional
        Called when the state of an item changes, in the thread of `run`.
    engine : str
        Address of the scheduler whose workers run the items; empty for processes on this computer.
    pool : Pool, optional
        Workers to use, which keep running afterwards; by default the runner starts its own.
    items : sequence of BatchItem, optional
        The items, if `list_items` was called before.

    Raises
    ------
    RecipeError
        If one of the recipe's paths matches no image.
    CheckpointError
        If an installed model is not the recipe's.
    InputReplacedError
        If a result would replace an image that the recipe reads.
    EngineError
        If the engine's address is not valid, or if its certificates are missing.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        out: Path | None = None,
        *,
        workers: int | None = 1,
        engine: str = "",
        on_change: OnChange | None = None,
        pool: Pool | None = None,
        items: Sequence[BatchItem] | None = None,
    ) -> None:
        self._models = recipe.models()
        self._digest = recipe.digest()
        self.out = output_folder(recipe, folder, out)
        self.items = tuple(list_items(recipe, folder, out) if items is None else items)
        self._refuse_inputs(recipe)
        self.source = find_worker_source(engine) if pool is None else pool.source
        self._recipe = recipe
        self._pool = pool
        self._workers = workers
        self._on_change = on_change
        self._outcomes: dict[str, ItemOutcome] = {}
        self._deaths: Counter[str] = Counter()
        self._waiting = deque(self.items)
        #: Items whose worker died, retried alone; items locked by another run, with the time of the next attempt.
        self._suspects: deque[BatchItem] = deque()
        self._elsewhere: deque[tuple[float, BatchItem]] = deque()
        self._under_way: dict[str, BatchItem] = {}
        #: The oldest of the submitted items, one per worker; the others wait in the workers.
        self._running: set[str] = set()
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._paused = False
        self._stopped = ""
        self._over = False
        self._ends: deque[float] = deque(maxlen=_LOOK_BACK)

    def _refuse_inputs(self, recipe: Recipe) -> None:
        """Raise an InputReplacedError if a result would replace an image or another file that the recipe reads."""
        stems = [f"{item.stem}{LABELS_SUFFIX}" for item in self.items]
        endings = (recipe.outputs.labels, ".csv", ".json")
        outputs = [join_name(self.out, f"{stem}{ending}") for stem in stems for ending in endings]
        read = find_files([step.inputs for step in recipe.steps])
        refuse_inputs(outputs, [*(item.path for item in self.items), *read])

    def labels_path(self, item: BatchItem) -> Path:
        """Return the path of an item's labels: a file or, for OME-Zarr, a folder."""
        return join_name(self.out, f"{item.stem}{LABELS_SUFFIX}{self._recipe.outputs.labels}")

    def thumbnail_path(self, item: BatchItem) -> Path:
        """Return the path of an item's thumbnail, a PNG."""
        return thumbnail_path(self.out, item.stem)

    def run(self) -> Report:
        """Run all items that are not done yet; block until they have ended or `stop` is called."""
        self._stopped = ""
        self._over = False
        started = datetime.now(UTC)
        began = time.monotonic()
        text = self._recipe.model_dump_json()
        with ExitStack() as stack:
            pool = self._pool or stack.enter_context(Pool(self._workers, source=self.source))
            self._folder = open_folder(self.out)
            self._sample = choose_sample(self.items, self._recipe, self._digest, self._folder)
            if not pool.source.shares_files:
                rows = (row(name).as_json() for name in self._recipe.models())
                files = stack.enter_context(mark_shared_files(self._folder, self.items, rows))
                pool.prepare(check_shared_files, files)
            self._pool_in_use = pool
            workers = pool.workers
            while not self._calls.empty() or self._submit_items(pool, text) or self._under_way:
                self._run_next_call()
            self._over = True
        report = Report(
            recipe=self._recipe.digest(),
            folder=str(self.out),
            started=started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - began, 3),
            workers=workers,
            threads=pool.threads,
            engine=self.source.address,
            versions=versions(),
            stopped=self._stopped,
            size=self._size_in_words(),
            items=tuple(make_entry(self._outcomes.get(item.stem), item.name, item.stem) for item in self.items),
        )
        try:
            self._folder.check()
            # Workers that were ended in this run, or in one killed just before it, may have left partial files.
            sweep(self.out)
            sweep(self._folder.hidden)
            write_report(self.out, report)
        except OutputError as error:
            return report.model_copy(update={"stopped": self._stopped or str(error)})
        return report

    def _size_in_words(self) -> str:
        """Return a sentence on the size that the objects of all images share; empty if there is none."""
        kept = None if self._sample is None else read_sizes(self._sample.path(self._folder))
        return kept.in_words() if kept else ""

    def pause(self) -> None:
        """Start no item until `resume` is called; running items continue. Safe to call from any thread."""
        self._calls.put(partial(self._set_paused, True))

    def resume(self) -> None:
        """Continue after `pause`; safe to call from any thread."""
        self._calls.put(partial(self._set_paused, False))

    def stop(self) -> None:
        """End `run` within 5 s, from any thread or a signal handler. A later run can do the rest."""
        if not self._over:
            self._calls.put(partial(self._stop_run, _BY_USER))

    def retry(self, names: Iterable[str]) -> None:
        """Try failed items again, by name, in this run or the next; safe to call from any thread."""
        self._calls.put(partial(self._retry_items, frozenset(names)))

    def seconds_left(self) -> float | None:
        """Return the estimated seconds for the remaining items; None until two have finished."""
        ends = tuple(self._ends)
        left = len(self.items) - len(self._outcomes)
        return left * (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else None

    def _submit_items(self, pool: Pool, recipe: str) -> bool:
        """Submit items until the workers have enough; tell whether any remain to be submitted."""
        while not self._stopped and not self._paused and (item := self._next_item(pool.workers)) is not None:
            order = Order(recipe, item, self._folder, self._sample)
            # No worker is needed for an item that is already done.
            done = find_finished(order, self._recipe, self._digest, self._models)
            if done is not None:
                self._settle_item(item, done)
                if self._calls.empty():
                    continue
                break
            self._under_way[item.stem] = item
            progress = partial(self._queue_call, self._report_progress, item)
            future = pool.submit(STAGES, order, progress)
            future.add_done_callback(partial(self._queue_call, self._handle_end, item))
        for stem in list(self._under_way)[: pool.workers]:
            if stem not in self._running:
                self._running.add(stem)
                self._report_change(self._under_way[stem], "running")
        return not self._stopped and bool(self._waiting or self._suspects or self._elsewhere)

    def _next_item(self, workers: int) -> BatchItem | None:
        """Return the next item to submit now, or None."""
        under_way = len(self._under_way)
        if self._waiting:
            return self._waiting.popleft() if under_way < _PER_WORKER * workers else None
        if self._suspects:
            # One per worker, and no other items at the same time, so that a death has a single cause.
            alone = all(self._deaths[stem] for stem in self._under_way)
            return self._suspects.popleft() if alone and under_way < workers else None
        if self._elsewhere and self._elsewhere[0][0] <= time.monotonic() and under_way < _PER_WORKER * workers:
            return self._elsewhere.popleft()[1]
        return None

    def _queue_call(self, call: Callable[..., None], *args: object) -> None:
        self._calls.put(partial(call, *args))

    def _run_next_call(self) -> None:
        due = self._elsewhere and not self._paused
        timeout = max(_POLL_SECONDS, self._elsewhere[0][0] - time.monotonic()) if due else None
        with suppress(Empty):
            self._calls.get(timeout=timeout)()

    def _report_change(
        self, item: BatchItem, state: RunState, outcome: ItemOutcome | None = None, share: float = 0.0, words: str = ""
    ) -> None:
        try:
            if self._on_change is not None:
                self._on_change(item, state, outcome, share, words)
        except Exception:  # noqa: BLE001 - another's code
            _log.exception("A callback of the batch failed")

    def _report_progress(self, item: BatchItem, share: float, words: str) -> None:
        if item.stem in self._running:
            self._report_change(item, "running", None, share, words)

    def _handle_end(self, item: BatchItem, future: Future[ItemOutcome]) -> None:
        del self._under_way[item.stem]
        if item.stem not in self._running:
            self._report_change(item, "running")
        self._running.discard(item.stem)
        error = future.exception()
        if isinstance(error, WorkerLostError):
            self._handle_lost_worker(item, error)
        elif isinstance(error, Cancelled):
            self._requeue_item(item)
        elif isinstance(error, EngineStartError):
            self._requeue_item(item)
            self._stop_run(str(error))
        elif error is not None:
            self._settle_item(
                item, ItemOutcome(item.name, item.stem, "failed", reason=str(error), error=type(error).__name__)
            )
        else:
            self._handle_outcome(item, future.result())

    def _handle_outcome(self, item: BatchItem, outcome: ItemOutcome) -> None:
        if outcome.state == "stopped":
            self._requeue_item(item)
        elif outcome.state == "elsewhere":
            self._elsewhere.append((time.monotonic() + _ELSEWHERE_SECONDS, item))
            self._report_change(item, "elsewhere", outcome)
        else:
            if outcome.state == "done":
                self._ends.append(time.monotonic())
            self._settle_item(item, outcome)
            if outcome.ends_batch:
                self._stop_run(outcome.reason)

    def _handle_lost_worker(self, item: BatchItem, error: WorkerLostError) -> None:
        self._deaths[item.stem] += 1
        if self._deaths[item.stem] < _DEATHS:
            self._suspects.append(item)
            self._report_change(item, "waiting")
            return
        reason = f"Its worker ended {_DEATHS} times, most likely because of this image: {error}"
        self._settle_item(item, ItemOutcome(item.name, item.stem, "failed", reason=reason, error=type(error).__name__))

    def _requeue_item(self, item: BatchItem) -> None:
        # An item whose worker died is still retried alone.
        (self._suspects if self._deaths[item.stem] else self._waiting).appendleft(item)
        self._report_change(item, "waiting")

    def _settle_item(self, item: BatchItem, outcome: ItemOutcome) -> None:
        self._outcomes[item.stem] = outcome
        self._report_change(item, outcome.state, outcome)

    def _set_paused(self, paused: bool) -> None:
        self._paused = paused
        # The pause must not count in the time estimate.
        self._ends.clear()

    def _stop_run(self, why: str) -> None:
        if not self._stopped:
            self._stopped = why
            self._pool_in_use.cancel(_STOP_SECONDS)

    def _retry_items(self, names: frozenset[str]) -> None:
        for item in self.items:
            outcome = self._outcomes.get(item.stem)
            if item.name in names and outcome is not None and outcome.state == "failed":
                del self._outcomes[item.stem], self._deaths[item.stem]
                self._requeue_item(item)

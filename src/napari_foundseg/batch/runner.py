"""`Runner`: does the items of a batch on some workers, and says what becomes of each."""

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

from napari_foundseg.batch.item_stages import STAGES, ItemOutcome, ItemState, Order
from napari_foundseg.batch.items import BatchItem, items_of, output_folder
from napari_foundseg.batch.ledger import open_folder, thumbnail_of
from napari_foundseg.batch.report import Report, reported, write_report
from napari_foundseg.batch.shared_files import check_shared_files, mark_shared_files
from napari_foundseg.core.errors import Cancelled, EngineStartError, OutputError, WorkerLostError
from napari_foundseg.engine.pool import Pool
from napari_foundseg.engine.worker_source import find_worker_source
from napari_foundseg.io.atomic import sweep
from napari_foundseg.io.naming import LABELS_SUFFIX, join_name
from napari_foundseg.models.catalog import row
from napari_foundseg.tasks.provenance import versions

if TYPE_CHECKING:
    from napari_foundseg.batch.recipe import Recipe

__all__ = ["OnChange", "RunState", "Runner"]

_log = logging.getLogger(__name__)
RunState = Literal["waiting", "running"] | ItemState
#: Told the item, its state, its outcome where it has one, the share done and words.
OnChange = Callable[[BatchItem, RunState, ItemOutcome | None, float, str], None]

#: One is read, one computed, one written: more would only take memory.
_PER_WORKER = 3
#: Deaths of its worker after which an item is not tried again.
_DEATHS = 2
#: How often an item that another run has is asked for again.
_ELSEWHERE_SECONDS = 1.0
_POLL_SECONDS = 0.05
#: How long what is under way may take to stop before its worker is ended; the whole is to take less than 5 s.
_STOP_SECONDS = 3.0
#: Items whose ends the estimate looks back at.
_LOOK_BACK = 30
_BY_PERSON = "stopped by the person"


class Runner:
    """Does a recipe's items.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    folder : Path
        The folder that its paths start from.
    out : Path, optional
        Another folder for the results than the recipe says.
    workers : int or None
        How many workers. None: as many as suit the engine, one process on this computer or all workers of a scheduler.
    on_change : callable, optional
        Told what becomes of an item, in the thread of `run`.
    engine : str
        Address of the scheduler whose workers do the items; empty for processes on this computer.
    pool : Pool, optional
        Workers to use, which are left running; by default some of its own while it runs.
    items : sequence of BatchItem, optional
        What `items_of` returned, where that was asked before.

    Raises
    ------
    RecipeError
        If one of the recipe's paths leads to no image.
    CheckpointError
        If a model here is not the one that the recipe names.
    EngineError
        If the engine's address has no known form, or its certificates are missing.
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
        recipe.models()
        self.out = output_folder(recipe, folder, out)
        self.items = tuple(items_of(recipe, folder, out) if items is None else items)
        self.source = find_worker_source(engine) if pool is None else pool.source
        self._recipe = recipe
        self._pool = pool
        self._workers = workers
        self._on_change = on_change
        self._outcomes: dict[str, ItemOutcome] = {}
        self._deaths: Counter[str] = Counter()
        self._waiting = deque(self.items)
        #: Those whose worker died, each to be tried again alone, and those that another run has, with the next time.
        self._suspects: deque[BatchItem] = deque()
        self._elsewhere: deque[tuple[float, BatchItem]] = deque()
        self._under_way: dict[str, BatchItem] = {}
        self._mail: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._paused, self._stopped, self._over = False, "", False
        self._ends: deque[float] = deque(maxlen=_LOOK_BACK)

    def labels_of(self, item: BatchItem) -> Path:
        """Return where the labels of an item are written.

        Parameters
        ----------
        item : BatchItem
            The item.

        Returns
        -------
        Path
            The file or, for OME-Zarr, the folder.
        """
        return join_name(self.out, f"{item.stem}{LABELS_SUFFIX}{self._recipe.outputs.labels}")

    def thumbnail_of(self, item: BatchItem) -> Path:
        """Return where the small picture of an item's result is written.

        Parameters
        ----------
        item : BatchItem
            The item.

        Returns
        -------
        Path
            A PNG.
        """
        return thumbnail_of(self.out, item.stem)

    def run(self) -> Report:
        """Do all items that are not done yet; blocks until they are, or until `stop`.

        Returns
        -------
        Report
            Which stands in the folder of the results too. After a stop another run goes on.

        Raises
        ------
        OutputError
            If the folder of the results cannot be made.
        """
        self._stopped, self._over = "", False
        started = datetime.now(UTC)
        began = time.monotonic()
        text = self._recipe.model_dump_json()
        with ExitStack() as stack:
            pool = self._pool or stack.enter_context(Pool(self._workers, source=self.source))
            self._folder = open_folder(self.out)
            if not pool.source.shares_files:
                rows = (row(name).model_dump(mode="json") for name in self._recipe.models())
                files = stack.enter_context(mark_shared_files(self._folder, self.items, rows))
                pool.prepare(check_shared_files, files)
            self._running = pool
            workers = pool.workers
            while not self._mail.empty() or self._fill(pool, text) or self._under_way:
                self._wait()
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
            items=tuple(reported(self._outcomes.get(item.stem), item.name, item.stem) for item in self.items),
        )
        try:
            self._folder.check()
            # Workers that were ended, of this run or of one that was killed just before it, may have left something.
            sweep(self.out)
            sweep(self._folder.hidden)
            write_report(self.out, report)
        except OutputError as error:
            return report.model_copy(update={"stopped": self._stopped or str(error)})
        return report

    def pause(self) -> None:
        """Begin no item until `resume`; those under way go on. From any thread."""
        self._mail.put(partial(self._pause, True))

    def resume(self) -> None:
        """Go on after `pause`; from any thread."""
        self._mail.put(partial(self._pause, False))

    def stop(self) -> None:
        """End `run` within 5 s, from any thread or a signal's handler; what is not done then, another run does."""
        if not self._over:
            self._mail.put(partial(self._stop, _BY_PERSON))

    def retry(self, names: Iterable[str]) -> None:
        """Try failed items again, in this run or the next; from any thread.

        Parameters
        ----------
        names : iterable of str
            Names of items; those that have not failed are left out.
        """
        self._mail.put(partial(self._retry, frozenset(names)))

    def seconds_left(self) -> float | None:
        """Estimate how long the rest will take, by the pace of the last items.

        Returns
        -------
        float or None
            None until there is a pace.
        """
        ends = tuple(self._ends)
        left = len(self.items) - len(self._outcomes)
        return left * (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else None

    def _fill(self, pool: Pool, recipe: str) -> bool:
        """Hand out as much as the workers shall have; tell whether anything is left to hand out."""
        while not self._stopped and not self._paused and (item := self._next(pool.workers)) is not None:
            self._under_way[item.stem] = item
            self._tell(item, "running")
            told = partial(self._post, self._progressed, item)
            future = pool.submit(STAGES, Order(recipe, item, self._folder), told)
            future.add_done_callback(partial(self._post, self._ended, item))
        return not self._stopped and bool(self._waiting or self._suspects or self._elsewhere)

    def _next(self, workers: int) -> BatchItem | None:
        """Return the item to hand out now, if any."""
        under_way = len(self._under_way)
        if self._waiting:
            return self._waiting.popleft() if under_way < _PER_WORKER * workers else None
        if self._suspects:
            # One a worker, and nothing else beside them, so that a death has one cause.
            alone = all(self._deaths[stem] for stem in self._under_way)
            return self._suspects.popleft() if alone and under_way < workers else None
        if self._elsewhere and self._elsewhere[0][0] <= time.monotonic() and under_way < _PER_WORKER * workers:
            return self._elsewhere.popleft()[1]
        return None

    def _post(self, call: Callable[..., None], *args: object) -> None:
        self._mail.put(partial(call, *args))

    def _wait(self) -> None:
        due = self._elsewhere and not self._paused
        timeout = max(_POLL_SECONDS, self._elsewhere[0][0] - time.monotonic()) if due else None
        with suppress(Empty):
            self._mail.get(timeout=timeout)()

    def _tell(
        self, item: BatchItem, state: RunState, outcome: ItemOutcome | None = None, share: float = 0.0, words: str = ""
    ) -> None:
        try:
            if self._on_change is not None:
                self._on_change(item, state, outcome, share, words)
        except Exception:  # noqa: BLE001 - another's code
            _log.exception("A callback of the batch failed")

    def _progressed(self, item: BatchItem, share: float, words: str) -> None:
        if item.stem in self._under_way:
            self._tell(item, "running", None, share, words)

    def _ended(self, item: BatchItem, future: Future[ItemOutcome]) -> None:
        del self._under_way[item.stem]
        error = future.exception()
        if isinstance(error, WorkerLostError):
            self._lost(item, error)
        elif isinstance(error, Cancelled):
            self._again(item)
        elif isinstance(error, EngineStartError):
            self._again(item)
            self._stop(str(error))
        elif error is not None:
            self._settle(
                item, ItemOutcome(item.name, item.stem, "failed", reason=str(error), error=type(error).__name__)
            )
        else:
            self._answered(item, future.result())

    def _answered(self, item: BatchItem, outcome: ItemOutcome) -> None:
        if outcome.state == "stopped":
            self._again(item)
        elif outcome.state == "elsewhere":
            self._elsewhere.append((time.monotonic() + _ELSEWHERE_SECONDS, item))
            self._tell(item, "elsewhere", outcome)
        else:
            if outcome.state == "done":
                self._ends.append(time.monotonic())
            self._settle(item, outcome)
            if outcome.ends_batch:
                self._stop(outcome.reason)

    def _lost(self, item: BatchItem, error: WorkerLostError) -> None:
        self._deaths[item.stem] += 1
        if self._deaths[item.stem] < _DEATHS:
            self._suspects.append(item)
            self._tell(item, "waiting")
            return
        reason = f"Its worker ended {_DEATHS} times, most likely because of this image: {error}"
        self._settle(item, ItemOutcome(item.name, item.stem, "failed", reason=reason, error=type(error).__name__))

    def _again(self, item: BatchItem) -> None:
        # An item whose worker died stays one that is tried alone.
        (self._suspects if self._deaths[item.stem] else self._waiting).appendleft(item)
        self._tell(item, "waiting")

    def _settle(self, item: BatchItem, outcome: ItemOutcome) -> None:
        self._outcomes[item.stem] = outcome
        self._tell(item, outcome.state, outcome)

    def _pause(self, paused: bool) -> None:
        self._paused = paused
        # The pause is no part of the pace.
        self._ends.clear()

    def _stop(self, why: str) -> None:
        if not self._stopped:
            self._stopped = why
            self._running.cancel(_STOP_SECONDS)

    def _retry(self, names: frozenset[str]) -> None:
        for item in self.items:
            outcome = self._outcomes.get(item.stem)
            if item.name in names and outcome is not None and outcome.state == "failed":
                del self._outcomes[item.stem], self._deaths[item.stem]
                self._again(item)

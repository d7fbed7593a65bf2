"""A batch in the window: the user's choices, and the runner in a background thread."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.batch.item_image import read_item_image
from napari_foundseg.batch.recipe import Recipe, read_recipe
from napari_foundseg.batch.report import Report, read_report
from napari_foundseg.batch.request import BatchRequest
from napari_foundseg.batch.runner import OnChange, Runner
from napari_foundseg.core.errors import ChangedError, EngineError, FoundsegError, RecipeError
from napari_foundseg.core.pixels.slab import usual_slab_in_words
from napari_foundseg.io.files.known_files import KnownFiles
from napari_foundseg.io.preferences import preferences
from napari_foundseg.widgets.qt.file_thread import FileThread
from napari_foundseg.widgets.saved.preferences import reload_preferences

if TYPE_CHECKING:
    from napari_foundseg.batch.item_stages import ItemOutcome
    from napari_foundseg.batch.items import BatchItem
    from napari_foundseg.core.image import Image

__all__ = ["BatchSession", "Line", "Result"]

#: Milliseconds between two updates of the window.
_LOOK_MS = 100
_ENDED = ("done", "already done", "kept", "failed")
#: Name, image file, labels file, and a function that reads the image.
Result = tuple[str, Path, Path, Callable[[], "Image"]]


@dataclass(eq=False)
class Line:
    """The state of an item, as shown in the table."""

    item: BatchItem
    state: str = "waiting"
    share: float = 0.0
    seconds: float = 0.0
    objects: int | None = None
    reason: str = ""
    #: The channel that was used, if the image has several, in words.
    channel: str = ""
    #: Diameter of the objects, in pixels.
    diameter: float | None = None
    #: The number of objects in words.
    counted: str = ""

    @property
    def noted(self) -> bool:
        """Whether its result has a remark that the user should read."""
        return self.state in ("done", "already done") and bool(self.reason)

    @property
    def shown(self) -> str:
        """The name without folders."""
        return self.item.name.rpartition("/")[2]


class BatchSession(QObject):
    """The recipe, images and progress of a batch.

    Files are read, and the runner works, in background threads.
    """

    #: Slow work has started; a message.
    working = Signal(str)
    #: The list of items has changed.
    listed = Signal()
    #: Rows that have changed.
    changed = Signal(object)
    #: A run was started, paused or ended, or the list is complete: buttons must be updated.
    settled = Signal()
    #: An error has occurred: the part of the form that it concerns, and the error.
    failed = Signal(str, object)

    def __init__(self) -> None:
        super().__init__()
        self.request = BatchRequest()
        self.recipe_name = ""
        #: The projections of the chosen layers that the viewer showed, in words.
        self.shown = ""
        self.lines: list[Line] = []
        self.running = self.paused = self.preparing = False
        self.report: Report | None = None
        self.runner: Runner | None = None
        #: Asks the user about a recipe that another program has written meanwhile.
        self.ask_about_change: Callable[[ChangedError], str] = lambda _error: "cancel"
        #: The recipes that were opened and saved.
        self._known = KnownFiles()
        self._rows: dict[str, int] = {}
        self._files, self._runs = FileThread(), FileThread()
        self._asked = 0
        self._used = False
        self._lock = threading.Lock()
        self._news: dict[str, tuple[str, ItemOutcome | None, float]] = {}
        #: Estimated seconds until the end of the run; None if unknown.
        self.seconds_left: float | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._fetch_news)

    # Choices.

    def open_recipe(self, path: Path) -> None:
        """Read a recipe file and use its images."""

        def read() -> Recipe:
            self._known.note(path)
            return read_recipe(path)

        self._files.ask(read, partial(self._take_recipe, path.parent.absolute(), path.name))

    def use(self, make: Callable[[], Recipe], folder: Path, name: str) -> None:
        """Use a recipe that is made from a run.

        Parameters
        ----------
        make : callable
            Returns the recipe; slow, so it is called in a background thread.
        """
        self._files.ask(make, partial(self._take_recipe, folder, name))

    def save_recipe(self, path: Path, *, replace: bool = False) -> None:
        """Save the recipe with the chosen images, stacks and results; `replace` the file even if others changed it."""
        request = self.request

        def save() -> None:
            if not replace:
                self._known.refuse_changed(path)
            request.save(path)
            self._known.note(path)

        self._files.ask(save, partial(self._recipe_saved, path))

    def choose(self, shown: str = "", **changed: Any) -> None:
        """Change fields of the `BatchRequest` and list the items again; `shown` describes the projections of layers."""
        if self.running:
            return
        if "paths" in changed or "layers" in changed:
            # Channels and slab belong to the previous layers.
            changed = {"channels": None, "slab": None, **changed}
            self.shown = shown
        self.request = replace(self.request, **changed)
        self.make_list()

    def make_list(self, then: Callable[[], None] | None = None) -> None:
        """List the items, with the results of an earlier run.

        Parameters
        ----------
        then : callable, optional
            Called after the list is complete, unless listing fails.
        """
        if self.request.recipe is None or self.running:
            return
        self._asked += 1
        self.preparing = True
        self.working.emit("Listing the images …")
        self.settled.emit()
        self._files.ask(
            partial(_prepare_run, self.request, self._record_news), partial(self._items_listed, self._asked, then)
        )

    # Running.

    def start(self) -> None:
        """Run the recipe on all items that are not done yet."""
        if self.running or self.preparing or self.runner is None:
            return
        reload_preferences()
        if self.request.engine != (preferences().address or ""):
            self.make_list(self._start_runner)
        elif self._used and not (self.report is not None and self.report.stopped):
            # All items have ended. They are listed again, since files may have changed.
            self.make_list(self._start_runner)
        else:
            self._start_runner()

    def pause(self) -> None:
        """Pause the run, or resume it."""
        if not self.running or self.runner is None:
            return
        self.paused = not self.paused
        (self.runner.pause if self.paused else self.runner.resume)()
        self.settled.emit()

    def stop(self) -> None:
        """Stop the run within seconds; `start` continues it."""
        if self.running and self.runner is not None:
            self.working.emit("Stopping …")
            self.runner.stop()

    def retry(self) -> None:
        """Retry failed items, in this run or in a new one."""
        if self.runner is None or self.preparing or not self.failures:
            return
        failed = [line for line in self.lines if line.state == "failed"]
        self.runner.retry([line.item.name for line in failed])
        if not self.running:
            self._start_runner()

    @property
    def place(self) -> str:
        """Where the items run, in words; empty for this computer, or if no items are listed."""
        return self.runner.source.describe() if self.request.engine and self.runner is not None else ""

    @property
    def projections(self) -> str:
        """A text on the projections that models use; empty for single slices."""
        recipe = self.request.recipe
        slab = None if recipe is None else recipe.inputs.slab
        if recipe is not None and (slab is not None or self.shown) and not self.request.sees_slabs:
            return "The volume is seen whole, with its slices as they are."
        return self.shown if slab is None else f"{usual_slab_in_words(slab)}, as in the recipe"

    @property
    def failures(self) -> int:
        """Number of failed items."""
        return sum(line.state == "failed" for line in self.lines)

    @property
    def ended(self) -> int:
        """Number of items that are done, kept or failed."""
        return sum(line.state in _ENDED for line in self.lines)

    def in_words(self) -> str:
        """Return the number of items in each state, such as ``198 done, 2 failed (3 to look at)``."""
        counts = Counter(line.state for line in self.lines)
        order = (*_ENDED, "running", "elsewhere", "waiting", "not done")
        words = ", ".join(f"{counts[state]} {state}" for state in order if counts[state])
        noted = sum(line.noted for line in self.lines)
        return f"{words} ({noted} to look at)" if noted else words

    def results(self) -> list[Result]:
        """Return images and labels of all items, for the worklist."""
        assert self.runner is not None
        seen = self.request.chosen_recipe().inputs
        pairs: list[Result] = []
        for line in self.lines:
            item = line.item
            read = partial(read_item_image, item.path, seen.axes, seen.channels, seen.normalisation, item.index)
            pairs.append((item.name, item.path, self.runner.labels_path(item), read))
        return pairs

    def ask_pictures(self, rows: Iterable[int], then: Callable[[int, Any], None], read: Callable[[Path], Any]) -> None:
        """Read thumbnails of results in a background thread.

        Parameters
        ----------
        then : callable
            Called with the row and the thumbnail of each result that has one.
        read : callable
            Reads a thumbnail file.
        """
        runner = self.runner
        asked = self._asked
        if runner is None:
            return
        wanted = [(row, runner.thumbnail_path(self.lines[row].item)) for row in rows if self.lines[row].state in _ENDED]

        def show(found: Any) -> None:
            if asked == self._asked and not isinstance(found, Exception):
                for row, image in found:
                    then(row, image)

        if wanted:
            self._files.ask(lambda: [(row, read(path)) for row, path in wanted], show)

    def release(self) -> None:
        """Stop without waiting: the runner ends its workers and writes its report by itself."""
        self._timer.stop()
        if self.runner is not None and self.running:
            self.runner.stop()
        self._runs.leave()
        self._files.leave()

    # Helpers.

    def _take_recipe(self, folder: Path, name: str, found: Any) -> None:
        if isinstance(found, Exception):
            self._report_error("recipe", found)
            return
        self.recipe_name = name
        self.choose(recipe=found, folder=folder, stacks=None, measure=None)

    def _recipe_saved(self, path: Path, found: Any) -> None:
        if isinstance(found, ChangedError) and self.ask_about_change(found) == "replace":
            self.save_recipe(path, replace=True)
        elif isinstance(found, Exception):
            self._report_error("recipe", found)
        else:
            self.working.emit(f"Saved {path.name}.")

    def _items_listed(self, asked: int, then: Callable[[], None] | None, found: Any) -> None:
        if asked != self._asked:
            return
        self.preparing = False
        self._used = False
        self.report = None
        if isinstance(found, Exception):
            self.runner = None
            self.lines = []
            self.listed.emit()
            parts = ((RecipeError, "image"), (EngineError, "run"))
            self._report_error(next((part for kind, part in parts if isinstance(found, kind)), "recipe"), found)
            return
        self.request, self.runner, report = found
        self.lines = [Line(item) for item in self.runner.items]
        self._rows = {line.item.stem: row for row, line in enumerate(self.lines)}
        for told in report.items if report is not None else ():
            row = self._rows.get(told.stem)
            if row is not None and told.state in _ENDED:
                line = self.lines[row]
                line.state = told.state
                line.seconds = told.seconds
                line.objects = told.objects
                line.reason = told.reason
                line.channel = told.channel
                line.diameter = told.diameter
                line.counted = told.counted
        self.listed.emit()
        self.settled.emit()
        if then is not None:
            then()

    def _start_runner(self) -> None:
        runner = self.runner
        assert runner is not None
        for line in self.lines:
            # Results of an earlier run are checked again.
            if not self._used or line.state not in _ENDED:
                line.state = "waiting"
        self.running = True
        self._used = True
        self.report = None
        self.seconds_left = None
        runner.resume()
        self.changed.emit(range(len(self.lines)))
        self._timer.start()
        self._runs.ask(runner.run, self._runner_ended)
        self.settled.emit()

    def _runner_ended(self, found: Any) -> None:
        self._fetch_news()
        self._timer.stop()
        self.running = self.paused = False
        left = [row for row, line in enumerate(self.lines) if line.state not in _ENDED]
        for row in left:
            self.lines[row].state = "not done"
        self.changed.emit(left)
        if isinstance(found, Exception):
            self._report_error("results", found)
            return
        self.report = found
        self.settled.emit()

    def _record_news(self, item: BatchItem, state: str, outcome: ItemOutcome | None, share: float, _words: str) -> None:
        """Record news from the runner, in its thread, until the window fetches them."""
        if state in _ENDED and self.runner is not None:
            self.seconds_left = self.runner.seconds_left()
        with self._lock:
            self._news[item.stem] = (state, outcome, share)

    def _fetch_news(self) -> None:
        with self._lock:
            news = self._news
            self._news = {}
        rows = []
        for stem, (state, outcome, share) in news.items():
            line = self.lines[self._rows[stem]]
            line.state = state
            line.share = share
            if outcome is not None:
                line.objects = outcome.objects
                line.reason = outcome.reason
                line.channel = outcome.channel
                line.diameter = outcome.diameter
                line.counted = outcome.counted or line.counted
                line.seconds = outcome.seconds or (line.seconds if state == "already done" else 0.0)
            rows.append(self._rows[stem])
        self.changed.emit(rows)

    def _report_error(self, part: str, error: Exception) -> None:
        self.settled.emit()
        known = isinstance(error, FoundsegError)
        self.failed.emit(part, error if known else EngineError(f"{type(error).__name__}: {error}"))


def _prepare_run(request: BatchRequest, note: OnChange) -> tuple[BatchRequest, Runner, Report | None]:
    request = replace(request.with_layers_saved(), engine=preferences().address or "")
    runner = request.make_runner(note)
    report = read_report(runner.out)
    same = report is not None and report.recipe == request.chosen_recipe().digest()
    return request, runner, report if same else None

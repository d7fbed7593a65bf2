"""The three stages of an item, run by a worker: read, compute, write."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from napari_foundseg.batch.common_size import Sample, with_common_size
from napari_foundseg.batch.item_image import hash_image_file, read_item_image
from napari_foundseg.batch.items import BatchItem
from napari_foundseg.batch.ledger import Folder, ItemFiles, LockedItem, lock_item
from napari_foundseg.batch.object_measures import measured_table
from napari_foundseg.batch.recipe import Recipe
from napari_foundseg.batch.recipe_steps import run_steps
from napari_foundseg.batch.sidecar import Sidecar, SourceFile
from napari_foundseg.core.errors import (
    BadImageError,
    Cancelled,
    CheckpointError,
    FolderLostError,
    FoundsegError,
    KeptError,
    OutputError,
)
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import count_in_words
from napari_foundseg.engine.error_translation import named_error
from napari_foundseg.engine.stages import Ended, StageContext
from napari_foundseg.io.atomic import staging
from napari_foundseg.io.formats.table import format_of_labels
from napari_foundseg.io.naming import DEFAULT_LABEL_ENDING, join_name, split_inside
from napari_foundseg.io.writers import replace_labels, replace_overlay, replace_table
from napari_foundseg.io.written_files import file_state
from napari_foundseg.tasks.notes import notes_of
from napari_foundseg.tasks.settings import ignore_progress

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "STAGES",
    "Computed",
    "ItemOutcome",
    "ItemState",
    "Order",
    "Ready",
    "compute",
    "find_finished",
    "read",
    "run_item_here",
    "write",
]

#: Longest side of thumbnails, in pixels.
THUMBNAIL = 96
_FOR_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
ItemState = Literal["done", "already done", "kept", "elsewhere", "stopped", "failed"]


@dataclass(frozen=True)
class Order:
    """One item to do, in plain values that can be pickled.

    Parameters
    ----------
    recipe : str
        The recipe as JSON, `Recipe.model_dump_json`.
    item : BatchItem
        The item.
    folder : Folder
        The folder of the results, from `ledger.open_folder`.
    sample : Sample or None
        The images that determine one size of objects for the batch; None if the size is found in each image.
    """

    recipe: str
    item: BatchItem
    folder: Folder
    sample: Sample | None = None


@dataclass(frozen=True)
class ItemOutcome:
    """How an item ended.

    Parameters
    ----------
    name : str
        The item's name.
    stem : str
        Prefix of the names of its results.
    state : {'done', 'already done', 'kept', 'elsewhere', 'stopped', 'failed'}
        Kept: the user edited the labels, and they were not touched. Elsewhere: another run is working on it.
        Stopped: by the user.
    objects : int or None
        Number of objects, if there is a result.
    seconds : float
        Time spent on it, without the time that it waited between stages.
    reason : str
        Why it was kept or failed, or why the grey values look wrong; shown to the user.
    error : str
        Type of the error, if it failed.
    channel : str
        The channel that was used, if the image has several, such as ``channel 1 of 3 (DAPI)``.
    counted : str
        The number of objects in words, such as ``22 objects in 8 slices, linked``.
    diameter : float or None
        Diameter of the objects in pixels, if it was found or set.
    ends_batch : bool
        Whether every other item would fail too: the disk is full, or the folder of the results is gone.
    """

    name: str
    stem: str
    state: ItemState
    objects: int | None = None
    seconds: float = 0.0
    reason: str = ""
    error: str = ""
    channel: str = ""
    counted: str = ""
    diameter: float | None = None
    ends_batch: bool = False


@dataclass(frozen=True, eq=False)
class Ready:
    """An item that was read; this process holds its lock."""

    order: Order
    recipe: Recipe
    held: LockedItem
    image: Image
    source: SourceFile
    #: State of the image's file when it was read, from `file_state`.
    state: tuple[int, ...]
    times: dict[str, float]


@dataclass(frozen=True, eq=False)
class Computed:
    """An item with its objects; this process holds its lock."""

    ready: Ready
    labels: NDArray[Any]
    table: pd.DataFrame
    steps: tuple[dict[str, Any], ...]
    times: dict[str, float]


def read(order: Order, context: StageContext) -> Ready | Ended:  # noqa: ARG001 - a stage
    """Lock an item, check whether its result is current, and read its image."""
    started = time.perf_counter()
    held: LockedItem | None = None
    try:
        held = lock_item(order.folder, order.item.stem)
        if held is None:
            return Ended(_outcome(order, "elsewhere", reason="Another run is working on it."))
        held.read_results()
        recipe = _recipe(order.recipe)
        item = order.item
        source = _source_of(item, recipe)
        if held.is_current(source, _digest(order.recipe), recipe.models()):
            held.release()
            return Ended(_already_done(order, held.known))
        state = file_state(item.path)
        seen = recipe.inputs
        image = read_item_image(
            item.path, seen.axes, seen.channels, seen.normalisation, item.index,
            measures_colour=seen.measures_colour, slab=seen.slab,
        )  # fmt: skip
        format_of_labels(Path(f"{held.labels}{recipe.outputs.labels}"), image.label_axes)
        # Computed here, so that it happens in parallel with the `compute` stage of the previous item.
        _ = image.limits, image.doubts, image.found_colour if seen.measures_colour else None
    except BaseException as error:  # noqa: BLE001 - whatever a file's reader raises, the others are done
        return _failed(order, held, error, started)
    return Ready(order, recipe, held, image, source, state, {"read": _since(started)})


def find_finished(order: Order, recipe: Recipe, digest: str, models: Mapping[str, str]) -> ItemOutcome | None:
    """Return the outcome of an item whose result is complete and current; None for items that a worker has to check.

    Parameters
    ----------
    order : Order
        The item.
    recipe : Recipe
        The recipe of the order.
    digest, models
        `Recipe.digest` and `Recipe.models` of it.
    """
    files = ItemFiles(order.folder, order.item.stem)
    # The worker reports any error.
    with suppress(FoundsegError, OSError):
        files.read_record()
        known = files.known
        # The files are hashed only if the record may be that of this run.
        if known is not None and (known.state, known.recipe, known.models) == ("done", digest, models):
            source = _source_of(order.item, recipe)
            if known.input.sha256 == source.sha256:
                files.read_results()
                if files.is_current(source, digest, models):
                    return _already_done(order, files.known)
    return None


def compute(ready: Ready, context: StageContext) -> Computed | Ended:
    """Run the steps of the recipe."""
    started = time.perf_counter()
    try:
        order = ready.order
        sized = with_common_size(ready.recipe, order.sample, order.folder, context)
        labels, table, steps = run_steps(sized, ready.image, context)
    except BaseException as error:  # noqa: BLE001 - whatever a model raises, the others are done
        return _failed(ready.order, ready.held, error, started)
    return Computed(ready, labels, table, steps, ready.times | {"compute": _since(started)})


def write(computed: Computed, context: StageContext) -> ItemOutcome:  # noqa: ARG001 - a stage
    """Write labels, table, thumbnail and sidecar, and release the lock."""
    started = time.perf_counter()
    ready = computed.ready
    try:
        objects = int((computed.table["area"] > 0).sum())
        reason = _write_results(computed, objects, started)
    except BaseException as error:  # noqa: BLE001 - whatever a disk does, the others are done
        failed: ItemOutcome = _failed(ready.order, ready.held, error, started).value
        return failed
    ready.held.release()
    seconds = sum(computed.times.values()) + _since(started)
    counted = count_in_words(objects, computed.labels.shape, next(iter(computed.steps), {}))
    return _outcome(ready.order, "done", objects, seconds, reason, **_used(computed.steps), counted=counted)


#: For `Pool.submit`.
STAGES = (read, compute, write)


def run_item_here(order: Order, device: str | None = None) -> ItemOutcome:
    """Run all stages of an item in this process."""
    context = StageContext(device, ignore_progress, bool)
    passed: Any = read(order, context)
    for stage in (compute, write):
        if isinstance(passed, Ended):
            break
        passed = stage(passed, context)
    outcome: ItemOutcome = passed.value if isinstance(passed, Ended) else passed
    return outcome


def _write_results(computed: Computed, objects: int, started: float) -> str:
    """Write the files of a result; return remarks for the user, such as odd grey values or a changed file name."""
    ready = computed.ready
    held = ready.held
    image = ready.image
    outputs = ready.recipe.outputs
    _check_same_file(ready)
    stage = held.make_stage()
    names = [f"{held.labels}{outputs.labels}"]
    moved = ""
    try:
        format_of_labels(Path(names[0]), image.label_axes, int(computed.labels.max(initial=0)))
    except OutputError as error:
        names = [f"{held.labels}{DEFAULT_LABEL_ENDING}"]
        moved = f"{error} So that they are not lost, the labels are in {names[0]!r}."
    with staging(stage):
        replace_labels(join_name(stage, names[0]), computed.labels, image.label_axes, image.spacing, image.units)
        if outputs.table:
            names.append(f"{held.labels}.csv")
            table = measured_table(computed.table, computed.labels, image) if outputs.measure else computed.table
            replace_table(join_name(stage, names[1]), table)
    reason = " ".join(filter(None, (ready.order.item.note, *image.notes, _notes(computed.steps), moved)))
    record = {
        "reason": reason,
        "input": ready.source,
        "recipe": _digest(ready.order.recipe),
        "models": ready.recipe.models(),
        "objects": objects,
        "steps": computed.steps,
        "times": computed.times | {"write": _since(started)},
    }
    # First, since a result that is marked as done is not written again. Without a thumbnail it is still a result.
    with suppress(OutputError):
        _write_thumbnail(held.thumbnail, image, computed.labels)
    held.publish(names, record)
    return reason


def _check_same_file(ready: Ready) -> None:
    """Raise a BadImageError if the file changed since it was hashed."""
    path = ready.order.item.path
    try:
        same = file_state(path) == ready.state
    except OSError:
        same = False
    if not same:
        raise BadImageError(path, "the file was changed while it was segmented; run it again")


def _write_thumbnail(path: Path, image: Image, labels: NDArray[Any]) -> None:
    """Write a thumbnail: the middle slice with its objects."""
    index = tuple(n // 2 for n in image.slice_shape)
    plane = image.plane_view(labels, index)
    step = max(1, -(-max(plane.shape) // THUMBNAIL))
    replace_overlay(path, image.rgb(index)[::step, ::step], plane[::step, ::step], durable=False)


@lru_cache(4)
def _recipe(text: str) -> Recipe:
    return Recipe.model_validate_json(text)


@lru_cache(4)
def _digest(text: str) -> str:
    return _recipe(text).digest()


def _notes(steps: Sequence[Mapping[str, Any]]) -> str:
    """Return the notes on the results of some steps, each sentence once."""
    return " ".join(dict.fromkeys(note for step in steps for note in notes_of(step)))


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


def _used(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the channel that was used, in words, and the diameter of the objects, both from the provenance."""
    first = next(iter(steps), {})
    channel = str(first.get("image", {}).get("channel_choice", ""))
    return {"channel": channel, "diameter": first.get("size", {}).get("diameter")}


def _source_of(item: BatchItem, recipe: Recipe) -> SourceFile:
    return SourceFile(
        name=item.name,
        sha256=hash_image_file(item.path),
        index=item.index,
        axes=recipe.inputs.axes,
        slab=recipe.inputs.slab,
        inside=split_inside(item.path)[1],
    )


def _already_done(order: Order, known: Sidecar | None) -> ItemOutcome:
    objects = known.objects if known else None
    steps = known.steps if known else ()
    reason = (known.reason or _notes(steps)) if known else ""
    return _outcome(order, "already done", objects, reason=reason, **_used(steps))


def _outcome(
    order: Order, state: ItemState, objects: int | None = None, seconds: float = 0.0, reason: str = "", **more: Any
) -> ItemOutcome:
    return ItemOutcome(order.item.name, order.item.stem, state, objects, seconds, reason, **more)


def _failed(order: Order, held: LockedItem | None, error: BaseException, started: float) -> Ended:
    """Release the lock and return the outcome; KeyboardInterrupt and SystemExit are raised again."""
    shown = error if isinstance(error, KeyboardInterrupt | SystemExit) else named_error(error)
    kept = isinstance(shown, KeptError) and held is not None and held.has_labels()
    if held is not None:
        held.release()
    if isinstance(error, KeyboardInterrupt | SystemExit):
        raise error
    if isinstance(shown, Cancelled):
        return Ended(_outcome(order, "stopped", seconds=_since(started), reason=str(shown)))
    if kept:
        return Ended(_outcome(order, "kept", seconds=_since(started), reason=str(shown)))
    if isinstance(shown, KeptError):
        todo = "move or rename that file, or choose another folder for the results."
        shown = KeptError(f"{shown} There are no labels of this image: {todo}")
    more = {"error": type(shown).__name__, "ends_batch": _ends_batch(shown)}
    return Ended(_outcome(order, "failed", None, _since(started), str(shown), **more))


def _ends_batch(error: BaseException) -> bool:
    """Tell whether every other item would fail with the same error."""
    if isinstance(error, FolderLostError | CheckpointError):
        return True
    causes = (error, error.__cause__)
    return isinstance(error, OutputError) and any(getattr(e, "errno", None) in _FOR_ALL for e in causes)

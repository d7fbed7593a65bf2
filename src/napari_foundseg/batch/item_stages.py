"""What a worker does to an item: read, compute, write; plain functions that a process can import."""

from __future__ import annotations

import errno
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from napari_foundseg.batch.item_image import file_digest, picture
from napari_foundseg.batch.items import BatchItem
from napari_foundseg.batch.ledger import Folder, Held, hold
from napari_foundseg.batch.recipe import Recipe
from napari_foundseg.batch.recipe_steps import run_steps
from napari_foundseg.batch.sidecar import SourceFile, state_of
from napari_foundseg.core.errors import (
    BadImageError,
    Cancelled,
    CheckpointError,
    FolderLostError,
    KeptError,
    OutputError,
)
from napari_foundseg.core.image import Image
from napari_foundseg.engine.error_translation import named_error
from napari_foundseg.engine.stages import Ended, StageContext
from napari_foundseg.io.naming import join_name
from napari_foundseg.io.writers import write_labels, write_overlay, write_table
from napari_foundseg.tasks.settings import ignore_progress

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["STAGES", "Computed", "ItemOutcome", "ItemState", "Order", "Ready", "compute", "read", "run_here", "write"]

#: Longest side of the small pictures, in pixels.
THUMBNAIL = 96
_FOR_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
ItemState = Literal["done", "already done", "kept", "elsewhere", "stopped", "failed"]


@dataclass(frozen=True)
class Order:
    """What a worker is told: all of it plain values.

    Parameters
    ----------
    recipe : str
        The recipe as JSON, `Recipe.model_dump_json`.
    item : BatchItem
        The item.
    folder : Folder
        Where the results go, `ledger.open_folder`.
    """

    recipe: str
    item: BatchItem
    folder: Folder


@dataclass(frozen=True)
class ItemOutcome:
    """What became of an item.

    Parameters
    ----------
    name : str
        The item's name.
    stem : str
        What the names of its results begin with.
    state : {'done', 'already done', 'kept', 'elsewhere', 'stopped', 'failed'}
        Kept: the labels are a person's and were left alone. Elsewhere: another worker has it. Stopped: by the person.
    objects : int or None
        Number of objects, where there is a result.
    seconds : float
        Spent on it, waiting between the stages left out.
    reason : str
        What a person should know: why it was kept or failed, or what is odd about the grey values.
    error : str
        Type of the error, of an item that failed.
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
    ends_batch: bool = False


@dataclass(frozen=True, eq=False)
class Ready:
    """An item that was read; its lock is held."""

    order: Order
    recipe: Recipe
    held: Held
    image: Image
    source: SourceFile
    #: What the image's file looked like.
    state: tuple[int, ...]
    times: dict[str, float]


@dataclass(frozen=True, eq=False)
class Computed:
    """An item with its objects; its lock is held."""

    ready: Ready
    labels: NDArray[Any]
    table: pd.DataFrame
    steps: tuple[dict[str, Any], ...]
    times: dict[str, float]


def read(order: Order, context: StageContext) -> Ready | Ended:  # noqa: ARG001 - a stage
    """Take an item's lock, look whether it is done already, and read its image.

    Parameters
    ----------
    order : Order
        The order.
    context : StageContext
        The worker's.

    Returns
    -------
    Ready or Ended
        Ended with an `ItemOutcome` where nothing is left to do.
    """
    started = time.perf_counter()
    held: Held | None = None
    try:
        held = hold(order.folder, order.item.stem)
        if held is None:
            return Ended(_outcome(order, "elsewhere", reason="Another run is at it."))
        held.look()
        recipe = _recipe(order.recipe)
        item, models = order.item, recipe.models()
        source = SourceFile(name=item.name, sha256=file_digest(item.path), index=item.index, axes=recipe.inputs.axes)
        if held.believes(source.sha256, source.index, recipe.digest(), models):
            objects = held.known.objects if held.known else None
            held.release()
            return Ended(_outcome(order, "already done", objects))
        state = state_of(item.path)
        seen = recipe.inputs
        image = picture(item.path, seen.axes, seen.channels, seen.normalisation, item.index)
        # Measured here, while the item before is computed.
        _ = image.limits, image.doubts
    except BaseException as error:  # noqa: BLE001 - whatever a file's reader raises, the others are done
        return _failed(order, held, error, started)
    return Ready(order, recipe, held, image, source, state, {"read": _since(started)})


def compute(ready: Ready, context: StageContext) -> Computed | Ended:
    """Run the steps of the recipe.

    Parameters
    ----------
    ready : Ready
        What `read` returned.
    context : StageContext
        The worker's.

    Returns
    -------
    Computed or Ended
        Ended with an `ItemOutcome` where a step failed.
    """
    started = time.perf_counter()
    try:
        labels, table, steps = run_steps(ready.recipe.steps, ready.image, context)
    except BaseException as error:  # noqa: BLE001 - whatever a model raises, the others are done
        return _failed(ready.order, ready.held, error, started)
    return Computed(ready, labels, table, steps, ready.times | {"compute": _since(started)})


def write(computed: Computed, context: StageContext) -> ItemOutcome:  # noqa: ARG001 - a stage
    """Write labels, table, thumbnail and the sidecar, and give the lock back.

    Parameters
    ----------
    computed : Computed
        What `compute` returned.
    context : StageContext
        The worker's.

    Returns
    -------
    ItemOutcome
        What became of the item.
    """
    started, ready = time.perf_counter(), computed.ready
    try:
        objects = int((computed.table["area"] > 0).sum())
        _write_results(computed, objects, started)
    except BaseException as error:  # noqa: BLE001 - whatever a disk does, the others are done
        failed: ItemOutcome = _failed(ready.order, ready.held, error, started).value
        return failed
    ready.held.release()
    seconds = sum(computed.times.values()) + _since(started)
    return _outcome(ready.order, "done", objects, seconds, ready.image.doubts)


#: For `Pool.submit`.
STAGES = (read, compute, write)


def run_here(order: Order, device: str | None = None) -> ItemOutcome:
    """Do an item in this process.

    Parameters
    ----------
    order : Order
        The order.
    device : str, optional
        As for `models.device.choose_device`.

    Returns
    -------
    ItemOutcome
        What became of it.
    """
    context = StageContext(device, ignore_progress, bool)
    passed: Any = read(order, context)
    for stage in (compute, write):
        if isinstance(passed, Ended):
            break
        passed = stage(passed, context)
    outcome: ItemOutcome = passed.value if isinstance(passed, Ended) else passed
    return outcome


def _write_results(computed: Computed, objects: int, started: float) -> None:
    ready = computed.ready
    held, image, outputs = ready.held, ready.image, ready.recipe.outputs
    _check_same_file(ready)
    stage, names = held.new_stage(), [f"{held.labels}{outputs.labels}"]
    write_labels(join_name(stage, names[0]), computed.labels, image.label_axes, image.spacing, image.units)
    if outputs.table:
        names.append(f"{held.labels}.csv")
        write_table(join_name(stage, names[1]), computed.table)
    record = {
        "input": ready.source,
        "recipe": ready.recipe.digest(),
        "models": ready.recipe.models(),
        "objects": objects,
        "steps": computed.steps,
        "times": computed.times | {"write": _since(started)},
    }
    # First, since nobody comes back to a result that is done; that it cannot be written is no reason to have none.
    with suppress(OutputError):
        _write_thumbnail(held.thumbnail, image, computed.labels)
    held.publish(names, record)


def _check_same_file(ready: Ready) -> None:
    """Refuse to write of a file what its hash does not say."""
    path = ready.order.item.path
    try:
        same = state_of(path) == ready.state
    except OSError:
        same = False
    if not same:
        raise BadImageError(path, "the file was changed while it was segmented; run it again")


def _write_thumbnail(path: Path, image: Image, labels: NDArray[Any]) -> None:
    """Write a small picture of the middle slice with its objects."""
    index = tuple(n // 2 for n in image.slice_shape)
    plane = image.plane_view(labels, index)
    step = max(1, -(-max(plane.shape) // THUMBNAIL))
    write_overlay(path, image.rgb(index)[::step, ::step], plane[::step, ::step])


@lru_cache(4)
def _recipe(text: str) -> Recipe:
    return Recipe.model_validate_json(text)


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


def _outcome(
    order: Order, state: ItemState, objects: int | None = None, seconds: float = 0.0, reason: str = "", **more: Any
) -> ItemOutcome:
    return ItemOutcome(order.item.name, order.item.stem, state, objects, seconds, reason, **more)


def _failed(order: Order, held: Held | None, error: BaseException, started: float) -> Ended:
    """Give the lock back and say what happened; what is no error of the item goes on."""
    if held is not None:
        held.release()
    if isinstance(error, KeyboardInterrupt | SystemExit):
        raise error
    shown = named_error(error)
    if isinstance(shown, Cancelled):
        return Ended(_outcome(order, "stopped", seconds=_since(started), reason=str(shown)))
    if isinstance(shown, KeptError):
        return Ended(_outcome(order, "kept", seconds=_since(started), reason=str(shown)))
    more = {"error": type(shown).__name__, "ends_batch": _ends_batch(shown)}
    return Ended(_outcome(order, "failed", None, _since(started), str(shown), **more))


def _ends_batch(error: BaseException) -> bool:
    """Tell whether every other item would meet the same error."""
    if isinstance(error, FolderLostError | CheckpointError):
        return True
    causes = (error, error.__cause__)
    return isinstance(error, OutputError) and any(getattr(e, "errno", None) in _FOR_ALL for e in causes)

"""What a worker does to an item: read, compute, write; plain functions that a process can import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from napari_foundseg.batch.items import Item
from napari_foundseg.batch.ledger import Folder, Held
from napari_foundseg.batch.recipe import Recipe
from napari_foundseg.core.image import Image
from napari_foundseg.engine.stages import Ended, Seat
from napari_foundseg.tasks.settings import unheard

__all__ = ["STAGES", "Computed", "Order", "Outcome", "Ready", "State", "compute", "read", "run_here", "write"]

State = Literal["done", "already done", "kept", "elsewhere", "stopped", "failed"]


@dataclass(frozen=True)
class Order:
    """What a worker is told: all of it plain values.

    Parameters
    ----------
    recipe : str
        The recipe as JSON, `Recipe.model_dump_json`.
    item : Item
        The item.
    folder : Folder
        Where the results go, `ledger.open_folder`.
    """

    recipe: str
    item: Item
    folder: Folder


@dataclass(frozen=True)
class Outcome:
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
        What a person should know: why it was kept or failed.
    error : str
        Type of the error, of an item that failed.
    ends_batch : bool
        Whether every other item would fail too: the disk is full, or the folder of the results is gone.
    """

    name: str
    stem: str
    state: State
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
    seconds: float


@dataclass(frozen=True, eq=False)
class Computed:
    """An item with its labels; its lock is held."""

    ready: Ready
    labels: NDArray[Any]
    table: Any
    steps: tuple[dict[str, Any], ...]
    seconds: float


def read(order: Order, seat: Seat) -> Ready | Ended:
    """Take an item's lock, look whether it is done already, and read its image.

    Parameters
    ----------
    order : Order
        The order.
    seat : Seat
        The worker's.

    Returns
    -------
    Ready or Ended
        Ended with an `Outcome` where nothing is left to do.
    """
    raise NotImplementedError


def compute(ready: Ready, seat: Seat) -> Computed | Ended:
    """Run the steps of the recipe.

    Parameters
    ----------
    ready : Ready
        What `read` returned.
    seat : Seat
        The worker's.

    Returns
    -------
    Computed or Ended
        Ended with an `Outcome` where a step failed.
    """
    raise NotImplementedError


def write(computed: Computed, seat: Seat) -> Outcome:
    """Write labels, table, thumbnail and the sidecar, and give the lock back.

    Parameters
    ----------
    computed : Computed
        What `compute` returned.
    seat : Seat
        The worker's.

    Returns
    -------
    Outcome
        Never raises.
    """
    raise NotImplementedError


#: For `Pool.submit`.
STAGES = (read, compute, write)


def run_here(order: Order, device: str | None = None) -> Outcome:
    """Do an item in this process.

    Parameters
    ----------
    order : Order
        The order.
    device : str, optional
        As for `models.device.choose_device`.

    Returns
    -------
    Outcome
        Never raises.
    """
    seat = Seat(device, unheard, bool)
    passed = read(order, seat)
    if not isinstance(passed, Ended):
        done = compute(passed, seat)
        if not isinstance(done, Ended):
            return write(done, seat)
        passed = done
    outcome: Outcome = passed.value
    return outcome

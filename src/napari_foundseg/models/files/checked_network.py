"""Networks whose tensors must be exactly those of a file: found under any prefix, checked, and loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.files.checkpoints import check, read_tensors
from napari_foundseg.models.files.network_bounds import network_outline

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_network", "load_network", "without_counts", "without_prefix"]

#: Makes a network from the shapes of its tensors.
Maker = Callable[[Mapping[str, tuple[int, ...]]], "nn.Module"]


def without_prefix(tensors: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """Return tensors without the prefix that training scripts put before their names.

    The prefix is found by the tensor whose name ends with `mark`. The result is empty if there is none.
    """
    named = next((name for name in tensors if name == mark or name.endswith(f".{mark}")), None)
    if named is None:
        return {}
    prefix = named.removesuffix(mark)
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def without_counts(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors without the counts of training batches, which not every file has."""
    return {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


def check_network(path: Path, make: Maker, shapes: Mapping[str, tuple[int, ...]], title: str) -> nn.Module:
    """Return a network with these shapes and without its numbers, on the meta device.

    Raises CheckpointError if the shapes do not make a network, or if it is larger than the file or needs other tensors.
    """
    try:
        outline = network_outline(path, partial(make, shapes), shapes)
    except CheckpointError:
        raise
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError, AssertionError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path} is taken for {title}, but tensors are missing or of odd shapes ({type(error).__name__}: "
            f"{error!s:.200}). It is incomplete or of another model; get it again."
        ) from error
    wanted = {name: tuple(value.shape) for name, value in outline.state_dict().items()}
    check(path, without_counts(wanted), without_counts(shapes), title)
    return outline


def load_network(path: Path, make: Maker, mark: str, title: str, device: str) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a file and the shapes of its tensors.

    Raises CheckpointError as `check_network` does.
    """
    tensors = without_prefix(read_tensors(path), mark)
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    check_network(path, make, shapes, title)
    network = make(shapes)
    network.load_state_dict({name: value.float() for name, value in without_counts(tensors).items()}, strict=False)
    return network.to(device).eval().requires_grad_(False), shapes

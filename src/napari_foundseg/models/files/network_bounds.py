"""Bounds that are checked before a network is made: it must not be larger than its weights can fill."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_network_size", "network_outline"]

#: Numbers allowed beyond twice those of the file, for tables of positions that networks compute.
_SLACK = 1 << 22


def check_network_size(path: Path, make: Callable[[], nn.Module], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError if a network is larger than weights of these shapes can fill.

    Parameters
    ----------
    path : Path
        The weights, for the message.
    make : callable
        Makes the network.
    shapes : mapping of str to tuple of int
        Shapes of the file's tensors.
    """
    network_outline(path, make, shapes)


def network_outline(path: Path, make: Callable[[], nn.Module], shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """Return a network without its numbers, on the meta device.

    Raises CheckpointError as `check_network_size` does.
    """
    import torch

    from napari_foundseg.models.nets.meta_device import SmallNumbersOnCpu

    numbers = sum(prod(shape) for shape in shapes.values())
    with _counted(path, len(shapes), numbers), torch.device("meta"), SmallNumbersOnCpu():
        network = make()
    needed = sum(part.numel() for part in (*network.parameters(), *network.buffers()))
    if needed > 2 * numbers + _SLACK:
        raise CheckpointError(_too_large(path, needed, numbers))
    return network


def _too_large(path: Path, needed: int, numbers: int) -> str:
    return (
        f"{path} describes a network of {needed / 1e6:.1f} million numbers, and its weights have {numbers / 1e6:.1f} "
        "million: they disagree. Get all files of one version."
    )


@contextmanager
def _counted(path: Path, tensors: int, numbers: int) -> Iterator[None]:
    """Stop making a network that has more modules, tensors or numbers than weights can fill.

    Networks that other threads make meanwhile are not counted.
    """
    from torch.nn.modules import module

    thread = threading.get_ident()
    most = {"modules": 40 * tensors + 4000, "tensors": 4 * tensors + 400, "numbers": 4 * numbers + 4 * _SLACK}
    counts = dict.fromkeys(most, 0)

    def count(what: str, by: int) -> None:
        counts[what] += by
        if counts[what] > most[what]:
            raise CheckpointError(
                f"{path} describes a network of more than {most[what]} {what}, and its weights have {tensors} tensors "
                f"of {numbers} numbers: they disagree. Get all files of one version."
            )

    def on_module(*_: Any) -> None:
        if threading.get_ident() == thread:
            count("modules", 1)

    def on_tensor(_module: Any, _name: str, tensor: Any) -> None:
        if threading.get_ident() == thread and tensor is not None:
            count("tensors", 1)
            count("numbers", tensor.numel())

    hooks = [
        module.register_module_module_registration_hook(on_module),
        module.register_module_parameter_registration_hook(on_tensor),
        module.register_module_buffer_registration_hook(on_tensor),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

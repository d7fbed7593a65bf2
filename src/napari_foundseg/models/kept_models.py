"""Keeps loaded models for the next run, as many as fit into a fraction of the memory."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_foundseg.models.out_of_memory import free_memory

__all__ = ["Key", "device_memory", "make_room", "model_bytes"]

#: Name, hash of the weights, and device.
Key = tuple[str, str, str]
#: Fraction of the memory that kept models may use; the rest is for images, embeddings and other programs.
_SHARE = 0.4
#: Linux files with the memory limit of a container or a cluster job.
_CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
#: Number of nested levels of a model's attributes that are searched for networks.
_DEPTH = 3


def make_room(
    loaded: OrderedDict[Key, Any],
    device: str,
    needed: int,
    memory: Callable[[str], tuple[int, int]] | None = None,
) -> None:
    """Unload the least recently used models of a device until another one of `needed` bytes fits.

    Parameters
    ----------
    loaded : OrderedDict
        Loaded models by name, hash and device; the least recently used first.
    device : str
        The device for the next model.
    needed : int
        Its size in bytes.
    memory : callable, optional
        A function like `device_memory`, which is the default.
    """
    total, free = (memory or device_memory)(device)
    sizes = {key: model_bytes(model) for key, model in loaded.items() if key[2] == device}
    held = sum(sizes.values())
    gone = False
    for key, size in sizes.items():
        if held + needed <= _SHARE * total and needed <= free:
            break
        del loaded[key]
        held -= size
        free += size
        gone = True
    if gone:
        free_memory()


def device_memory(device: str) -> tuple[int, int]:
    """Return the total and the free memory of a device in bytes."""
    kind = device.partition(":")[0]
    if kind == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info(device)
        # Memory that torch has reserved is available for new tensors.
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(total), int(free + reserved)
    import psutil

    memory = psutil.virtual_memory()
    total = min([int(memory.total), *_limits()])
    return total, min(int(memory.available), total)


def model_bytes(model: Any) -> int:
    """Return the size of all tensors of a model's networks in bytes; 0 if it has none."""
    torch = sys.modules.get("torch")
    if torch is None:
        return 0
    networks: list[Any] = []
    _collect_networks(model, torch.nn.Module, networks, _DEPTH)
    tensors = {
        id(tensor): tensor.numel() * tensor.element_size()
        for network in networks
        for tensor in (*network.parameters(), *network.buffers())
    }
    return sum(tensors.values())


def _collect_networks(value: Any, kind: type, found: list[Any], depth: int) -> None:
    if isinstance(value, kind):
        found.append(value)
    elif depth and isinstance(value, dict):
        for part in value.values():
            _collect_networks(part, kind, found, depth - 1)
    elif depth and hasattr(value, "__dict__"):
        _collect_networks(vars(value), kind, found, depth)


def _limits() -> list[int]:
    """Return the memory limits of this process's control groups; empty if there are none."""
    found = []
    for path in _CGROUP:
        with suppress(OSError, ValueError):
            found.append(int(path.read_text(encoding="ascii")))
    return found

"""Checks that loaded models implement the protocols that their rows claim."""

from __future__ import annotations

import inspect
from typing import Any
from weakref import WeakKeyDictionary

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.out_of_memory import Fallbacks
from napari_foundseg.models.protocols import classes, frames, objects, volumes, words
from napari_foundseg.models.protocols.objects import OPTIONAL, MemoryRescue

__all__ = ["NO_GPU", "check_model", "fallbacks_of", "members_of", "protocol_named"]

#: Text in the provenance of a run on a computer without a GPU.
NO_GPU = "there is no GPU here: the CPU was used"
_ABSENT = object()
#: Notes about fallbacks, for models that do not keep notes themselves.
_fallbacks: WeakKeyDictionary[Any, Fallbacks] = WeakKeyDictionary()


def protocol_named(name: str) -> type | None:
    """Return the protocol with a name; None if this package has no such protocol."""
    for module in (objects, classes, words, frames, volumes):
        if name in module.__all__:
            found: type = vars(module)[name]
            return found
    return None


def members_of(protocol: type) -> set[str]:
    """Return the names of the attributes and methods that a protocol requires."""
    return {name for base in protocol.__mro__ for name in vars(base) if not name.startswith("_")}


def check_model(model: Any, row: CatalogRow) -> None:
    """Raise TypeError if a model lacks a part of a protocol in its row, or has only a part of an optional one."""
    claimed = [protocol for name in row.protocols if (protocol := protocol_named(name)) is not None]
    begun = [protocol for protocol in OPTIONAL if any(_has(model, name) for name in _own_members(protocol))]
    for protocol in (*claimed, *begun):
        if missing := sorted(name for name in members_of(protocol) if not _has(model, name)):
            raise TypeError(
                f"The model family {row.family} offers {protocol.__name__} for {row.name}, but {type(model).__name__} "
                f"lacks {', '.join(missing)}: see models/protocols/{protocol.__module__.rpartition('.')[2]}.py."
            )


def fallbacks_of(model: Any) -> Fallbacks:
    """Return the notes about fallbacks when memory ran out: those of the model, or notes kept here if it has none."""
    if isinstance(model, MemoryRescue):
        return model.fallbacks
    return _fallbacks.setdefault(model, Fallbacks())


def _own_members(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


def _has(model: Any, name: str) -> bool:
    # Static, since reading a property could start a computation.
    return inspect.getattr_static(model, name, _ABSENT) is not _ABSENT

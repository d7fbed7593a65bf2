"""Table of model families: every module in a subfolder of this package is a family with the module's name.

Reading the table imports no module. Asking for one family imports only that one.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from napari_foundseg.core.errors import ModelNotFoundError

if TYPE_CHECKING:
    from napari_foundseg.models.family import FamilyModule

__all__ = ["families", "family_module", "family_names", "family_title", "register_family"]

#: Families from other packages: name and dotted path of the module.
_registered: dict[str, str] = {}


def register_family(module: str) -> None:
    """Add a family whose module is in another package.

    Parameters
    ----------
    module : str
        Dotted path of an importable module with ``FAMILY``, ``load`` and ``recognise``, such as ``my_package.sam9``.
        Its last part is the family's name.
    """
    _registered[module.rpartition(".")[2]] = module


def family_names() -> tuple[str, ...]:
    """Return the names of all families, sorted."""
    return tuple(sorted(_modules()))


def family_module(name: str) -> FamilyModule:
    """Import the module of a family; raise ModelNotFoundError if no family has that name."""
    modules = _modules()
    if name not in modules:
        named = ", ".join(f"{one} ({family_title(one)})" for one in family_names())
        raise ModelNotFoundError(f"There is no family {name!r}; choose one of {named}.")
    module = import_module(modules[name])
    missing = [part for part in ("FAMILY", "load", "recognise") if part not in vars(module)]
    if missing:
        raise TypeError(f"{modules[name]} is not a model family: it lacks {', '.join(missing)}.")
    return cast("FamilyModule", module)


def family_title(name: str) -> str:
    """Return the title of a family's models, such as ``SAM-HQ``."""
    return family_module(name).FAMILY.title or name.replace("_", " ")


def families() -> dict[str, FamilyModule]:
    """Import all families, and return their modules by name, in order of rank."""
    modules = {name: family_module(name) for name in family_names()}
    return dict(sorted(modules.items(), key=lambda item: item[1].FAMILY.rank))


def _modules() -> dict[str, str]:
    return _packaged() | _registered


@cache
def _packaged() -> dict[str, str]:
    """Map the name of every module below this folder to its dotted path."""
    found = {}
    for folder in __path__:
        for file in Path(folder).glob("*/*.py"):
            if file.stem != "__init__":
                found[file.stem] = f"{__name__}.{file.parent.name}.{file.stem}"
    return found

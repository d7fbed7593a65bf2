"""Model families: one module each, in a folder by kind. A family's name is its module's."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import ModelNotFoundError

__all__ = ["family_module"]


@cache
def _places() -> dict[str, str]:
    """Map the name of every module below this folder to its dotted path; nothing is imported."""
    found = {}
    for folder in __path__:
        for file in Path(folder).glob("*/*.py"):
            if file.stem != "__init__":
                found[file.stem] = f"{__name__}.{file.parent.name}.{file.stem}"
    return found


def family_module(name: str) -> Any:
    """Import the module of a family.

    Parameters
    ----------
    name : str
        The family's name, as rows of the catalogue give it.

    Returns
    -------
    module
        With `load` and `recognise`.

    Raises
    ------
    ModelNotFoundError
        If there is no such family.
    """
    if name not in _places():
        raise ModelNotFoundError(f"There is no family {name!r}.")
    return import_module(_places()[name])

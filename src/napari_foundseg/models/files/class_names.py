"""Class names next to weights that do not hold them: ``classes.json``, or the data set that a README names.

``classes.json`` is a list of names by number, or a table with ``classes``. For a network that also recognises views,
the table has ``views``: in the order of their numbers, the name of each view and the classes that it can show.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.class_sets import CLASS_SETS
from napari_foundseg.models.files.folder_files import read_json
from napari_foundseg.models.files.small_text import read_small_text

__all__ = ["ClassNames", "names_beside"]

_FILE = "classes.json"


class ClassNames(NamedTuple):
    """Names of classes and views in a folder; empty where it has none."""

    classes: tuple[str, ...] = ()
    """Their names, by number."""
    views: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Names of views by number, each with its possible classes."""


def names_beside(folder: Path, classes: int, views: int = 0) -> ClassNames:
    """Return a folder's names for a network with this number of classes and views.

    Raises CheckpointError if the folder has another number of them, or a view with an unknown class.
    """
    if not (folder / _FILE).is_file():
        return ClassNames(_of_data_set(folder, classes))
    content = read_json(folder / _FILE)
    table = {"classes": content} if isinstance(content, list) else content
    table = table if isinstance(table, dict) else {"classes": None}
    names: Any = table.get("classes", [])
    sets: Any = table.get("views", {})
    if not _are_names(names) or not isinstance(sets, dict) or not all(_are_names(one) for one in sets.values()):
        raise CheckpointError(
            f'{folder / _FILE} must hold a list of names, or a table with "classes" (a list of names) and "views" '
            "(for each view the list of its classes)."
        )
    # A network with one class has no class for the background.
    names = names[1:] if classes == 1 and len(names) == 2 else names
    for what, named, told in (("classes", names, classes), ("views", sets, views)):
        if named and len(named) != told:
            raise CheckpointError(f"{folder / _FILE} names {len(named)} {what}; the network tells {told} apart.")
    if unknown := [one for own in sets.values() for one in own if one not in names]:
        raise CheckpointError(f"{folder / _FILE} has a view with {unknown[0]!r:.60}, which is none of its classes.")
    return ClassNames(tuple(names), tuple((view, tuple(own)) for view, own in sets.items()))


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def _of_data_set(folder: Path, classes: int) -> tuple[str, ...]:
    """Return the class names of the data set in a folder's README; empty unless there are `classes` of them."""
    try:
        text = read_small_text(folder / "README.md")
    except (OSError, ValueError):
        return ()
    told = re.search(r"(?im)^dataset name:\s*\[?([\w .-]+)", text)
    wanted = re.sub(r"\W", "", told[1]).lower() if told else ""
    return next((own for name, own in CLASS_SETS.items() if name.lower() == wanted and len(own) == classes), ())

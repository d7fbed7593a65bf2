"""A folder of images, or a list of them, as a worklist: what is there, where its labels lie, how far each is.

How far each image is stands in one small JSON file beside the labels. An image is known by its file's name in its
folder, a layer by its own name. Labels files are those whose names end in ``_labels``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_foundseg.core.errors import WorklistError
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.naming import (
    DEFAULT_LABEL_ENDING,
    LABELS_SUFFIX,
    free_stem,
    image_exists,
    is_image_name,
    labels_file,
    name_key,
    natural_key,
    stem_of_labels,
)

if TYPE_CHECKING:
    from napari_foundseg.core.image import Image

__all__ = [
    "STATE_FILE",
    "Item",
    "Record",
    "State",
    "items_of_folder",
    "named_items",
    "paired_items",
    "read_records",
    "write_record",
]

State = Literal["new", "automatic", "in work", "done"]
#: The file that holds the states, in the folder of the labels.
STATE_FILE = "foundseg-worklist.json"
_FORMAT = "foundseg-worklist 1"


@dataclass(frozen=True)
class Record:
    """What is kept of an image.

    Parameters
    ----------
    labels : str
        Name of its labels file, in the folder of the labels.
    state : {'new', 'automatic', 'in work', 'done'}
        How far it is; automatic: labels of a run that nobody has touched.
    objects : int or None
        Number of objects in the labels file; None where nobody has counted.
    image : str
        Fingerprint of the pixels that the labels belong to; empty where it is not known.
    """

    labels: str
    state: State
    objects: int | None
    image: str = ""


@dataclass(frozen=True)
class Item:
    """One image of a worklist.

    Parameters
    ----------
    name : str
        What it is known by.
    path : Path or None
        Its file; None for a layer.
    labels : Path
        Its labels file, which need not exist.
    record : Record
        How far it is.
    missing : bool
        Whether it was there before and is not any more.
    read : callable, optional
        Returns the image, where its file alone does not say how it is to be seen: one slice of a stack, other axes.
    """

    name: str
    path: Path | None
    labels: Path
    record: Record
    missing: bool = False
    read: Callable[[], Image] | None = None


def items_of_folder(images: Path, labels: Path) -> list[Item]:
    """Return the images of a folder, in natural order, and those that have vanished from it.

    Parameters
    ----------
    images : Path
        The folder; folders in it are left out.
    labels : Path
        The folder of the labels, which may be the same.

    Returns
    -------
    list of Item
        Image 2 comes before image 10.

    Raises
    ------
    WorklistError
        If the folder cannot be read, or its state file is damaged or not ours.
    """
    try:
        names = [path.name for path in images.iterdir() if is_image_name(path.name) and image_exists(path)]
    except OSError as error:
        raise WorklistError(
            f"The folder {str(images)!r} cannot be read ({error.strerror or error}). Choose another folder."
        ) from error
    records = read_records(labels)
    vanished = {name for name in records if is_image_name(name)} - set(names)
    items = _items(sorted([*names, *vanished], key=natural_key), labels, records)
    return [Item(i.name, images / i.name, i.labels, i.record, missing=i.name in vanished) for i in items]


def named_items(names: Iterable[str], labels: Path) -> list[Item]:
    """Return the items of things that have names but no files, such as layers.

    Parameters
    ----------
    names : iterable of str
        In the order wanted, each once.
    labels : Path
        The folder of the labels.

    Returns
    -------
    list of Item
        Without paths.

    Raises
    ------
    WorklistError
        If the state file is damaged or not ours.
    """
    return _items(list(names), labels, read_records(labels))


def paired_items(pairs: Iterable[tuple[str, Path, Path, Callable[[], Image] | None]]) -> list[Item]:
    """Return the items of images whose labels files are known, such as the results of a batch.

    Parameters
    ----------
    pairs : iterable of (str, Path, Path, callable or None)
        Name, image, labels file and `Item.read`; all labels files in one folder.

    Returns
    -------
    list of Item
        In the same order. Labels that a person has worked on under another name of the image keep their state.

    Raises
    ------
    WorklistError
        If the state file is damaged or not ours.
    """
    items: list[Item] = []
    records: dict[str, Record] = {}
    of_labels: dict[str, Record] = {}
    for name, path, labels, read in pairs:
        if not items:
            records = read_records(labels.parent)
            of_labels = {record.labels: record for record in records.values()}
        record = records.get(name)
        if record is None or record.labels != labels.name:
            fresh = Record(labels.name, "automatic" if labels.exists() else "new", None)
            record = of_labels.get(labels.name, fresh)
        items.append(Item(name, path, labels, record, missing=not path.exists(), read=read))
    return items


def read_records(folder: Path) -> dict[str, Record]:
    """Return what is kept of the images whose labels lie in a folder.

    Parameters
    ----------
    folder : Path
        The folder of the labels.

    Returns
    -------
    dict of str to Record
        By the images' names; empty where there is no state file.

    Raises
    ------
    WorklistError
        If the state file cannot be read, is damaged or not ours. It stays as it is.
    """
    path = folder / STATE_FILE
    try:
        return _records(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WorklistError(
            f"{str(path)!r} is no worklist, or is damaged ({error}). It was left as it is: rename or remove it, or "
            "choose another folder for the labels."
        ) from error


def write_record(folder: Path, name: str, record: Record) -> None:
    """Keep how far one image is; what another window has written meanwhile of others stays.

    Parameters
    ----------
    folder : Path
        The folder of the labels.
    name : str
        The image's name.
    record : Record
        What to keep.

    Raises
    ------
    WorklistError
        If the state file is damaged or not ours. It stays as it is.
    OutputError
        If it cannot be written.
    """
    records = read_records(folder) | {name: record}
    images = {key: asdict(records[key]) for key in sorted(records, key=natural_key)}
    with atomic_write(folder / STATE_FILE) as file:
        file.write(json.dumps({"format": _FORMAT, "images": images}, indent=1).encode())


def _records(content: Any) -> dict[str, Record]:
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"it is not of the format {_FORMAT!r}")
    return {name: _record(values) for name, values in content["images"].items()}


def _record(values: Mapping[str, Any]) -> Record:
    record = Record(**{name: values[name] for name in ("labels", "state", "objects", "image")})
    texts = (record.labels, record.state, record.image)
    if not all(isinstance(text, str) for text in texts) or record.state not in get_args(State):
        raise ValueError(f"{record.state!r} is none of the states {', '.join(get_args(State))}")
    if record.objects is not None and (type(record.objects) is not int or record.objects < 0):
        raise ValueError(f"{record.objects!r} is no number of objects")
    if record.labels in ("", ".", "..") or set(record.labels) & set("/\\\0"):
        # The file is written later: a name must not lead out of its folder.
        raise ValueError(f"{record.labels!r} is no name of a file")
    return record


def _items(names: list[str], folder: Path, records: Mapping[str, Record]) -> list[Item]:
    """Give each image its labels file: the one that it had, else one that is no other's."""
    taken = {name_key(stem_of_labels(records[name].labels)) for name in records}
    items = []
    for name in names:
        record = records.get(name)
        if record is None:
            stem = free_stem(name, taken)
            found = labels_file(folder, stem)
            # They were made elsewhere; whether a person has looked at them nobody has said.
            record = (
                Record(found.name, "automatic", None)
                if found
                else Record(f"{stem}{LABELS_SUFFIX}{DEFAULT_LABEL_ENDING}", "new", None)
            )
            taken.add(name_key(stem))
        items.append(Item(name, None, folder / record.labels, record))
    return items

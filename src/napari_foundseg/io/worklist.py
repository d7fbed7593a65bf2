"""A folder or list of images as a worklist: the images, and the labels file and state of each.

The states are in one small JSON file in the folder of the labels. The key of an image is its file name; that of a layer
is its name. Labels files have names that end in ``_labels``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_foundseg.core.errors import WorklistError
from napari_foundseg.io.atomic import atomic_write, sweep
from napari_foundseg.io.files.json_file import read_json
from napari_foundseg.io.image_listing import can_read_whole, images_of, list_images
from napari_foundseg.io.naming import (
    DEFAULT_LABEL_ENDING,
    LABELS_SUFFIX,
    flat_name,
    free_stem,
    image_exists,
    is_image_folder,
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
    "Record",
    "WorkState",
    "WorklistItem",
    "items_of_folder",
    "named_items",
    "paired_items",
    "read_records",
    "worked_on_labels",
    "write_record",
]

WorkState = Literal["new", "automatic", "in work", "done"]
#: The file with the states, in the folder of the labels.
STATE_FILE = "foundseg-worklist.json"
_FORMAT = "foundseg-worklist 1"
#: More objects than any labels file can contain.
_MOST_OBJECTS = 1 << 64


@dataclass(frozen=True)
class Record:
    """State of an image, as stored in the state file.

    Parameters
    ----------
    labels : str
        Name of its labels file, in the folder of the labels.
    state : {'new', 'automatic', 'in work', 'done'}
        Progress. Automatic: labels from a run, which the user has not edited.
    objects : int or None
        Number of objects in the labels file; None if they were not counted.
    image : str
        Fingerprint of the pixels to which the labels belong; empty if it is unknown.
    """

    labels: str
    state: WorkState
    objects: int | None
    image: str = ""


@dataclass(frozen=True)
class WorklistItem:
    """One image of a worklist.

    Parameters
    ----------
    name : str
        Key in the state file.
    path : Path or None
        Its file; None for a layer.
    labels : Path
        Its labels file, which need not exist.
    record : Record
        Its state.
    missing : bool
        Whether it is in the state file but its own file is gone.
    read : callable, optional
        Returns the image, if it is not simply the whole file: one slice of a stack, or other axes.
    """

    name: str
    path: Path | None
    labels: Path
    record: Record
    missing: bool = False
    read: Callable[[], Image] | None = None


def items_of_folder(images: Path, labels: Path) -> list[WorklistItem]:
    """List the images of a folder in natural order, with missing ones that are in the state file.

    Images in subfolders are left out. Each image of a file with several is an item. The folder of the labels may be
    that of the images. `images` may also be a folder such as that of an OME-Zarr plate, whose fields are then listed.

    Raises
    ------
    WorklistError
        If the folder cannot be read, or if its state file is damaged, is another kind of file, or names an image as
        labels.
    """
    try:
        files = [images] if is_image_folder(images) else list_images(images)
    except OSError as error:
        raise WorklistError(
            f"The folder {str(images)!r} cannot be read ({error.strerror or error}). Choose another folder."
        ) from error
    records = read_records(labels)
    sweep(labels)
    paths = {name: path for file in files for name, path in _named_images(file, records)}
    missing = {name for name in records if is_image_name(flat_name(name))} - set(paths)
    base = images.parent if is_image_folder(images) else images
    paths |= {name: base / name for name in missing}
    items = _items(sorted(paths, key=natural_key), labels, records)
    if os.path.realpath(labels) == os.path.realpath(base):
        own = {paths[i.name].name: i.name for i in items if i.name not in missing}
        for item in items:
            if item.labels.name in own:
                raise WorklistError(
                    f"{str(labels / STATE_FILE)!r} says that the labels of {item.name!r} are {item.labels.name!r}, "
                    "which is an image and would be replaced. It was left unchanged: choose another folder for the "
                    "labels, or rename the state file."
                )
    return [WorklistItem(i.name, paths[i.name], i.labels, i.record, missing=i.name in missing) for i in items]


def _named_images(file: Path, records: Mapping[str, Record]) -> Iterator[tuple[str, Path]]:
    """Yield key and path of each image of a file."""
    inside = images_of(file)
    for path in inside.paths:
        # In the state file of an earlier version, the name of the file means its first image.
        known = path != file and path == inside.all_paths[0] and file.name in records
        known |= len(inside.paths) == 1 and can_read_whole(file)
        yield file.name if known else path.relative_to(file.parent).as_posix(), path


def named_items(names: Iterable[str], labels: Path) -> list[WorklistItem]:
    """Return items without paths, such as layers, in the order of their names.

    Raises
    ------
    WorklistError
        If the state file is damaged or another file.
    """
    return _items(list(names), labels, read_records(labels))


def paired_items(pairs: Iterable[tuple[str, Path, Path, Callable[[], Image] | None]]) -> list[WorklistItem]:
    """Return the items of images with their labels files, such as the results of a batch, in the same order.

    Parameters
    ----------
    pairs : iterable of (str, Path, Path, callable or None)
        Name, image, labels file and `WorklistItem.read`. All labels files are in one folder. Labels that the user has
        edited under another name of the image keep their state.

    Raises
    ------
    WorklistError
        If the state file is damaged or another file.
    """
    items: list[WorklistItem] = []
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
        items.append(WorklistItem(name, path, labels, record, missing=not image_exists(path), read=read))
    return items


def read_records(folder: Path) -> dict[str, Record]:
    """Read the state file in a folder of labels; return an empty dict if there is none.

    Raises
    ------
    WorklistError
        If the state file cannot be read, is damaged or another file. It is left unchanged.
    """
    path = folder / STATE_FILE
    try:
        return {name: _record(values) for name, values in _images(read_json(path)).items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_worklist(path, error) from error


def worked_on_labels(folder: Path) -> frozenset[str]:
    """Return the labels files that the user has edited. A damaged record does not hide the others.

    Raises
    ------
    WorklistError
        If the whole state file is damaged or another file.
    """
    path = folder / STATE_FILE
    found = set()
    try:
        images = _images(read_json(path))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except (OSError, ValueError) as error:
        raise _no_worklist(path, error) from error
    for values in images.values():
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            record = _record(values)
            if record.state in ("in work", "done"):
                found.add(record.labels)
    return frozenset(found)


def write_record(folder: Path, name: str, record: Record) -> None:
    """Write the state of one image. States of other images, which another window may have written, are kept.

    Raises
    ------
    WorklistError
        If the state file is damaged or another file. It is left unchanged.
    OutputError
        If it cannot be written.
    """
    records = read_records(folder) | {name: record}
    images = {key: asdict(records[key]) for key in sorted(records, key=natural_key)}
    with atomic_write(folder / STATE_FILE) as file:
        file.write(json.dumps({"format": _FORMAT, "images": images}, indent=1).encode())


def _no_worklist(path: Path, error: Exception) -> WorklistError:
    return WorklistError(
        f"{str(path)!r} is not a worklist, or is damaged ({error}). It was left unchanged: rename or remove it, or "
        "choose another folder for the labels."
    )


def _images(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"it is not of the format {_FORMAT!r}")
    if not isinstance(content.get("images"), dict):
        raise ValueError("it lists no images")  # noqa: TRY004 - handled like other damage
    images: dict[str, Any] = content["images"]
    return images


def _record(values: Mapping[str, Any]) -> Record:
    record = Record(**{name: values[name] for name in ("labels", "state", "objects", "image")})
    texts = (record.labels, record.state, record.image)
    if not all(isinstance(text, str) for text in texts) or record.state not in get_args(WorkState):
        raise ValueError(f"{record.state!r} is none of the states {', '.join(get_args(WorkState))}")
    if record.objects is not None and (type(record.objects) is not int or not 0 <= record.objects < _MOST_OBJECTS):
        raise ValueError(f"{record.objects!r} is not a number of objects")
    if record.labels in ("", ".", "..") or set(record.labels) & set("/\\\0"):
        # The labels file is written later, so its name must not lead out of the folder.
        raise ValueError(f"{record.labels!r} is not a file name")
    return record


def _items(names: list[str], folder: Path, records: Mapping[str, Record]) -> list[WorklistItem]:
    """Give each image its labels file: that of its record, else one that no other image uses."""
    used = {name_key(stem_of_labels(records[name].labels)) for name in records}
    items = []
    for name in names:
        record = records.get(name)
        if record is None:
            stem = free_stem(flat_name(name), used)
            found = labels_file(folder, stem)
            # These labels come from elsewhere, so it is unknown whether the user has checked them.
            record = (
                Record(found.name, "automatic", None)
                if found
                else Record(f"{stem}{LABELS_SUFFIX}{DEFAULT_LABEL_ENDING}", "new", None)
            )
            used.add(name_key(stem))
        items.append(WorklistItem(name, None, folder / record.labels, record))
    return items

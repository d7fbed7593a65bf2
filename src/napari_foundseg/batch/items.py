"""`BatchItem`: one image of a batch, or one slice of it, and which items a recipe has."""

from __future__ import annotations

import glob
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from napari_foundseg.batch.recipe import Recipe
from napari_foundseg.core.errors import FoundsegError, RecipeError
from napari_foundseg.io.formats.table import image_endings, is_folder_name
from napari_foundseg.io.naming import (
    LABELS_SUFFIX,
    free_stem,
    is_image_folder,
    is_image_name,
    join_name,
    name_key,
    natural_key,
    safe_name,
    stem_of,
)
from napari_foundseg.io.readers import read_image

__all__ = ["BatchItem", "list_items", "output_folder"]

_PATTERN = frozenset("*?[")
#: Ending of a list of images.
_LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class BatchItem:
    """One image of a batch, or one slice of it.

    Parameters
    ----------
    name : str
        Shown to the user: the path of the file relative to the recipe's folder, and the slice.
    path : Path
        The file.
    index : tuple of int or None
        The slice, one number for each of the image's axes of slices; None for the whole file.
    stem : str
        The names of its results begin with it; unique in the batch, also without regard to case.
    """

    name: str
    path: Path
    index: tuple[int, ...] | None
    stem: str


def output_folder(recipe: Recipe, folder: Path, out: Path | None = None) -> Path:
    """Return the folder of a recipe's results, absolute; it need not exist."""
    return (out if out is not None else folder / recipe.outputs.folder).absolute()


def list_items(recipe: Recipe, folder: Path, out: Path | None = None) -> list[BatchItem]:
    """Return the items of a recipe, in the order of its paths and then in natural order; each file once."""
    folder, results = folder.absolute(), output_folder(recipe, folder, out)
    files: dict[str, Path] = {}
    known = _RealFolders()
    for entry in recipe.inputs.paths:
        found = list(_files(entry, folder, results, recursive=recipe.inputs.recursive))
        if not found:
            raise RecipeError(
                f"inputs.paths: {entry!r} matches no image in {str(folder)!r}. Check the name; images end in "
                f"{', '.join(image_endings())}, and files named *{LABELS_SUFFIX} are results."
            )
        for path in found:
            files.setdefault(known.identity(path), path)
    names = [_name(path, folder) for path in files.values()]
    stems = _stems(names, results)
    items = [BatchItem(name, path, None, stem) for name, path, stem in zip(names, files.values(), stems, strict=True)]
    return items if recipe.inputs.stacks == "whole" else _slices(items, recipe.inputs.axes)


class _RealFolders:
    """Tells whether two paths are one file; each folder is resolved once, since there may be many files."""

    def __init__(self) -> None:
        self._resolved: dict[str, str] = {}

    def identity(self, path: Path) -> str:
        parent = str(path.parent)
        if path.is_symlink() or path.name in ("", ".."):
            return os.path.normcase(os.path.realpath(path))
        if parent not in self._resolved:
            self._resolved[parent] = os.path.realpath(parent)
        return os.path.normcase(os.path.join(self._resolved[parent], path.name))  # noqa: PTH118 - ten times faster


def _files(entry: str, folder: Path, results: Path, *, recursive: bool) -> Iterator[Path]:
    """Yield the images of one path of a recipe."""
    path = join_name(folder, entry)
    if "\0" in entry:
        raise RecipeError(f"inputs.paths: {entry!r} is not a path: it contains a null character.")
    if _is_folder(path):
        yield from _in_folder(path, results, recursive=recursive)
    elif path.is_file() and path.suffix.lower() == _LIST_SUFFIX:
        yield from _in_list(path)
    elif path.exists() or (is_image_name(path.name) and not _PATTERN & set(entry)):
        # A missing image fails as an item, so that the others are still done.
        yield path
    elif _PATTERN & set(entry):
        found = (folder / name for name in glob.iglob(entry, root_dir=folder, recursive=True))  # noqa: PTH207 - absolute ones too
        yield from _in_order(p for p in found if is_image_name(p.name) and (p.is_file() or is_image_folder(p)))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not is_image_folder(path)


def _in_folder(folder: Path, results: Path, *, recursive: bool) -> Iterator[Path]:
    """Yield a folder's images, then those of the folders in it."""
    try:
        with os.scandir(folder) as entries:
            here = [(entry.name, entry.is_dir()) for entry in entries]
    except OSError as error:
        raise RecipeError(
            f"The folder {str(folder)!r} cannot be read ({error.strerror or error}). Check its permissions."
        ) from error
    stores = {name for name, is_folder in here if is_folder and is_folder_name(name)}
    yield from _in_order(folder / n for n, is_folder in here if is_image_name(n) and (not is_folder or n in stores))
    if recursive:
        inner = [n for n, is_folder in here if is_folder and n not in stores and not n.startswith(".")]
        for name in sorted(inner, key=natural_key):
            # A link could make a circle; results are not inputs.
            if not (folder / name).is_symlink() and folder / name != results:
                yield from _in_folder(folder / name, results, recursive=True)


def _in_order(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: natural_key(str(path)))


def _in_list(path: Path) -> Iterator[Path]:
    """Yield the images that a text file lists, one a line, relative to its folder."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise RecipeError(f"The list {str(path)!r} cannot be read ({error.strerror or error}).") from error
    for line in text.splitlines():
        name = line.strip()
        if "\0" in name:
            raise RecipeError(f"The list {str(path)!r} is not a text file: it contains null characters.")
        if name and not name.startswith("#"):
            yield join_name(path.parent, name)


def _name(path: Path, folder: Path) -> str:
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
    # Bytes that are no text in the file name (another encoding) could not be written to the report.
    return os.fsencode(name).decode(errors="backslashreplace")


def _stems(names: list[str], results: Path) -> list[str]:
    """Return a stem for each image, with which the names of its results begin.

    Of several images with the same name, the one whose results exist already keeps the plain stem; the others get their
    ending or their folders added.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    times: Counter[str] = Counter()
    for name in names:
        groups[name_key(free_stem(_file_name(name), ()))].append(name)
        times[name_key(_file_name(name))] += 1
    stems: dict[str, str] = {}
    taken = set(groups)
    for group in groups.values():
        own = free_stem(_file_name(group[0]), ())
        stems[_owner(group, join_name(results, f"{own}{LABELS_SUFFIX}.json"))] = own
    numbers: Counter[str] = Counter()
    for name in (name for name in names if name not in stems):
        alone = times[name_key(_file_name(name))] == 1
        wanted = safe_name(_file_name(name) if alone else stem_of(name))
        stem = wanted
        while name_key(stem) in taken:
            numbers[wanted] += 1
            stem = f"{wanted}_{numbers[wanted] + 1}"
        taken.add(name_key(stem))
        stems[name] = stem
    return [stems[name] for name in names]


def _file_name(name: str) -> str:
    return name.rpartition("/")[2] or name


def _owner(group: list[str], sidecar: Path) -> str:
    """Return the image of a group whose results have the plain stem; the first, if there are none."""
    if len(group) == 1:
        return group[0]
    try:
        before = json.loads(sidecar.read_bytes())["input"]["name"]
    except (OSError, ValueError, LookupError, TypeError):
        return group[0]
    return before if before in group else group[0]


def _slices(items: list[BatchItem], axes: str | None) -> list[BatchItem]:
    """Return an item for each slice; a file that cannot be read stays one item, which fails later."""
    out: list[BatchItem] = []
    taken = {name_key(item.stem) for item in items}
    for item in items:
        try:
            image = read_image(item.path, axes)
        except FoundsegError:
            out.append(item)
            continue
        for index in image.indices():
            where = [(a.lower(), i, n) for a, i, n in zip(image.slice_axes, index, image.slice_shape, strict=True)]
            if not where:
                out.append(item)
                continue
            stem = f"{item.stem}_" + "_".join(f"{axis}{i:0{len(str(n - 1))}}" for axis, i, n in where)
            shown = ", ".join(f"{axis} = {i}" for axis, i, _ in where)
            while name_key(stem) in taken:
                stem += "_"
            taken.add(name_key(stem))
            out.append(replace(item, name=f"{item.name} ({shown})", index=index, stem=stem))
    return out

"""`BatchItem`, one image of a batch or one slice of it, and the list of a recipe's items."""

from __future__ import annotations

import glob
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from napari_foundseg.batch.recipe import Recipe
from napari_foundseg.core.errors import FoundsegError, RecipeError
from napari_foundseg.io.files.json_file import read_json
from napari_foundseg.io.formats.table import data_set_file, image_endings
from napari_foundseg.io.image_listing import can_read_whole, images_of, pick_images
from napari_foundseg.io.naming import (
    LABELS_SUFFIX,
    flat_name,
    free_stem,
    image_exists,
    is_address,
    is_image_folder,
    is_image_name,
    join_name,
    name_key,
    natural_key,
    safe_name,
    split_inside,
    stem_of,
)
from napari_foundseg.io.readers import read_image

__all__ = ["BatchItem", "list_items", "output_folder"]

_PATTERN = frozenset("*?[")
#: Ending of text files that list images.
_LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class BatchItem:
    """One image of a batch, or one slice of it.

    Parameters
    ----------
    name : str
        Shown to the user: the path of the file relative to the recipe's folder, and the slice.
    path : Path
        The file, or an image in it, such as ``plate.ome.zarr/A/2/0`` or ``a.ome.tif/1``.
    index : tuple of int or None
        The slice, one number for each of the image's axes of slices; None for the whole file.
    stem : str
        Prefix of the names of its results; unique in the batch, also if case is ignored.
    note : str
        A remark on the file for the user, such as that some of its images are left out.
    """

    name: str
    path: Path
    index: tuple[int, ...] | None
    stem: str
    note: str = ""


def output_folder(recipe: Recipe, folder: Path, out: Path | None = None) -> Path:
    """Return the absolute path of the folder of a recipe's results; it need not exist."""
    return (out if out is not None else folder / recipe.outputs.folder).absolute()


def list_items(recipe: Recipe, folder: Path, out: Path | None = None) -> list[BatchItem]:
    """Return the items of a recipe, each image once, in the order of its paths and then in natural order."""
    folder, results = folder.absolute(), output_folder(recipe, folder, out)
    # Name, path and note of each image.
    found_images: dict[str, tuple[str, Path, str]] = {}
    known = _RealFolders()
    for entry in recipe.inputs.paths:
        if is_address(Path(entry)):
            raise RecipeError(
                f"inputs.paths: {entry!r} is an address (URL), which is not read. Download the files and name those."
            )
        found = list(_files(entry, folder, results, recursive=recipe.inputs.recursive))
        if not found:
            raise RecipeError(
                f"inputs.paths: {entry!r} matches no image in {str(folder)!r}. Check the name; images end in "
                f"{', '.join(image_endings())}, and files named *{LABELS_SUFFIX} are results."
            )
        for file in found:
            for path, note, named in _images(data_set_file(file), first=recipe.inputs.inside == "first"):
                found_images.setdefault(known.identity(path), (_name(named, folder), path, note))
    stems = _stems([name for name, _, _ in found_images.values()], results)
    items = [
        BatchItem(name, path, None, stem, note)
        for (name, path, note), stem in zip(found_images.values(), stems, strict=True)
    ]
    return items if recipe.inputs.stacks == "whole" else _slices(items, recipe.inputs.axes)


def _images(file: Path, *, first: bool) -> Iterator[tuple[Path, str, Path]]:
    """Yield path, note and name of each image of a file; with `first`, only the first image, under the file's name."""
    inside = images_of(file)
    left_out = f"Left out of {file.name}: {inside.left_out}." if inside.left_out else ""
    if first and len(inside.all_paths) > 1 and can_read_whole(file):
        rest = len(inside.all_paths) - 1
        note = f"{file.name} holds {rest} more images, which this recipe leaves out (inside: first)."
        yield inside.all_paths[0], note, file
        return
    if len(inside.paths) == 1 and can_read_whole(file):
        yield inside.paths[0], left_out, file
        return
    for i, path in enumerate(inside.paths):
        yield path, "" if i else left_out, path


class _RealFolders:
    """Tells whether two paths are the same file. Each folder is resolved only once, since there may be many files."""

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
    elif path.exists() or ((is_image_name(path.name) or split_inside(path)[1]) and not _PATTERN & set(entry)):
        # A missing image fails as an item, so that the others are still run.
        yield path
    elif _PATTERN & set(entry):
        yield from _in_order(_matches(entry, folder))


def _matches(pattern: str, folder: Path) -> Iterator[Path]:
    """Yield the images that match a pattern, in any order."""
    others: dict[Path, dict[str, bool]] = defaultdict(dict)
    for name in glob.iglob(pattern, root_dir=folder, recursive=True):  # noqa: PTH207 - absolute ones too
        match = folder / name
        is_folder = match.is_dir()
        if is_folder and split_inside(match)[1] and is_image_folder(match):
            yield match
        else:
            others[match.parent][match.name] = is_folder
    for parent, names in others.items():
        yield from (parent / name for name in pick_images(parent, names, (path.name for path in parent.iterdir())))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not is_image_folder(path)


def _in_folder(folder: Path, results: Path, *, recursive: bool) -> Iterator[Path]:
    """Yield a folder's images, then those of its subfolders if `recursive`."""
    try:
        with os.scandir(folder) as entries:
            here = {entry.name: entry.is_dir() for entry in entries}
    except OSError as error:
        raise RecipeError(
            f"The folder {str(folder)!r} cannot be read ({error.strerror or error}). Check its permissions."
        ) from error
    images = pick_images(folder, here, here)
    yield from _in_order(folder / name for name in images)
    if recursive:
        stores = {name for name, is_folder in here.items() if is_folder and is_image_folder(folder / name)}
        inner = {name for name, is_folder in here.items() if is_folder and not name.startswith(".")} - stores
        for name in sorted(inner, key=natural_key):
            # A link could lead to an endless loop; results are not inputs.
            if not (folder / name).is_symlink() and folder / name != results:
                yield from _in_folder(folder / name, results, recursive=True)


def _in_order(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: natural_key(str(path)))


def _in_list(path: Path) -> Iterator[Path]:
    """Yield the images that a text file lists, one per line, relative to its folder."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise RecipeError(f"The list {str(path)!r} cannot be read ({error.strerror or error}).") from error
    for line in text.splitlines():
        name = line.strip()
        if "\0" in name:
            raise RecipeError(f"The list {str(path)!r} is not a text file: it contains null characters.")
        # Lines that begin with # are comments, unless an image has that name.
        if name and (not name.startswith("#") or image_exists(join_name(path.parent, name))):
            yield join_name(path.parent, name)


def _name(path: Path, folder: Path) -> str:
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
    # File names in another encoding contain bytes that could not be written to the report.
    return os.fsencode(name).decode(errors="backslashreplace")


def _stems(names: list[str], results: Path) -> list[str]:
    """Return a stem for each image: the prefix of the names of its results.

    If several images have the same name, the one that already has results keeps the plain stem. The others get their
    ending or their folders added.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    times: Counter[str] = Counter()
    for name in names:
        groups[name_key(free_stem(flat_name(name), ()))].append(name)
        times[name_key(flat_name(name))] += 1
    stems: dict[str, str] = {}
    taken = set(groups)
    for group in groups.values():
        own = free_stem(flat_name(group[0]), ())
        stems[_owner(group, join_name(results, f"{own}{LABELS_SUFFIX}.json"))] = own
    numbers: Counter[str] = Counter()
    for name in (name for name in names if name not in stems):
        alone = times[name_key(flat_name(name))] == 1
        wanted = safe_name(flat_name(name) if alone else stem_of(name))
        stem = wanted
        while name_key(stem) in taken:
            numbers[wanted] += 1
            stem = f"{wanted}_{numbers[wanted] + 1}"
        taken.add(name_key(stem))
        stems[name] = stem
    return [stems[name] for name in names]


def _owner(group: list[str], sidecar: Path) -> str:
    """Return the image of a group that already has results with the plain stem; the first image if none has."""
    if len(group) == 1:
        return group[0]
    try:
        before = read_json(sidecar)["input"]["name"]
    except (OSError, ValueError, LookupError, TypeError):
        return group[0]
    return before if before in group else group[0]


def _slices(items: list[BatchItem], axes: str | None) -> list[BatchItem]:
    """Return one item per slice; a file that cannot be read stays one item, which fails later."""
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

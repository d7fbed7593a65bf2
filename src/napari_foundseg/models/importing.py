"""Import of models from files and folders with weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import CheckpointError, FoundsegError, ModelNotFoundError, SettingsError
from napari_foundseg.models.bioimageio.package_files import DESCRIPTIONS
from napari_foundseg.models.catalog import (
    CatalogRow,
    catalog,
    current_family,
    delete_row,
    packaged,
    save_row,
    user_rows,
)
from napari_foundseg.models.downloads.size_text import megabytes
from napari_foundseg.models.families import families, family_module, family_title
from napari_foundseg.models.family import WeightsView, check_packages
from napari_foundseg.models.files.checkpoints import read_config, read_shapes
from napari_foundseg.models.files.folder_files import check_folder
from napari_foundseg.models.files.known_kinds import holds_network, kind_of_files
from napari_foundseg.models.store import hash_of, hub_folder, locate, missing_shards, weight_files
from napari_foundseg.models.torch_import import check_torch_import
from napari_foundseg.models.unsupported import unsupported_name, unsupported_weights

__all__ = ["import_model", "remove_model", "view_weights"]

#: Fields that describe the imported file. They are not taken from the package's row of the same model.
_OF_THE_FILE = {"name", "family", "file", "source", "beside", "sha256", "size_mb"}
#: Fields that `recognise` of a family may leave out.
_UNKNOWN = {"revision": "imported", "code_licence": "unknown", "weights_licence": "unknown", "input": "2-D",
            "citation": "See where the weights come from."}  # fmt: skip


def view_weights(path: Path, family: str | None = None, facts: Mapping[str, Any] | None = None) -> WeightsView:
    """Read the facts about a file or folder that families need to recognise it. Nothing of it is run.

    Raises CheckpointError if it is damaged or has no weights; the message says which.
    """
    if not path.exists():
        raise CheckpointError(f"{path} is not there; choose a file of weights, or a folder with weights.")
    if not path.is_file() and not path.is_dir():
        raise CheckpointError(f"{path} is a pipe or a device; choose a file of weights, or a folder with weights.")
    check_folder(path)
    if path.is_dir() and (missing := missing_shards(path)):
        raise CheckpointError(
            f"{path} is not complete: {', '.join(missing[:3])}{' and others' if missing[3:] else ''} of its index is "
            "missing. Get the folder again."
        )
    try:
        config = read_config(path)
        shapes = _ShapesOnDemand(path)
        # A file is read now, to show whether it is damaged. The weights in a folder may need its family to find them.
        if path.is_file() and not holds_network(path):
            len(shapes)
    except CheckpointError as error:
        raise _named(path, error) from error
    return WeightsView(path, shapes, config, family, facts or {})


class _ShapesOnDemand(Mapping[str, tuple[int, ...]]):
    """Shapes of the tensors of a file or folder. It is read once, at the first access."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shapes: dict[str, tuple[int, ...]] | None = None
        self._error: CheckpointError | None = None

    def _read(self) -> dict[str, tuple[int, ...]]:
        if self._shapes is None and self._error is None:
            try:
                self._shapes = read_shapes(self._path)
            except CheckpointError as error:
                self._error = error
        if self._error is not None:
            raise self._error
        assert self._shapes is not None
        return self._shapes

    def __getitem__(self, name: str) -> tuple[int, ...]:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


def _named(path: Path, error: CheckpointError) -> CheckpointError:
    """Add the name of the model to an error from reading weights, if the model can be identified."""
    if named := kind_of_files(path, error):
        return CheckpointError(f"{path} {named}.")
    named = unsupported_weights(path)
    return CheckpointError(f"{path} {named} ({error})") if named else error


def import_model(
    path: str | Path,
    name: str | None = None,
    family: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> CatalogRow:
    """Add a file or folder of weights to the catalogue as a model. The weights are not moved or copied.

    Parameters
    ----------
    path : str or Path
        A weights file; a folder in the layout of transformers or this package, or a file in it; a package of
        bioimage.io (ZIP file or folder); or ``hf:owner/name`` for a repository that the Hugging Face hub's client has
        downloaded.
    name : str, optional
        Name of the model. By default the catalogue's name for the published file, or else the file's name.
    family : str, optional
        The family of the model. By default the first family that recognises it.
    facts : mapping, optional
        Facts that the file does not contain and that its family needs, such as ``{"output": "object"}`` for a network
        in an ONNX file (`models.onnx_networks.description`).

    Returns
    -------
    CatalogRow
        The new row.

    Raises
    ------
    CheckpointError
        If it is damaged, has no weights, or no family recognises it.
    ModelNotFoundError
        If there is no such family.
    SettingsError
        If the name is taken or invalid, or the family does not need these facts.
    PackageError
        If a package that the model needs is missing or too old.
    OutputError
        If the row cannot be written.
    """
    check_torch_import()
    source = str(path)
    where = _where(path)
    family = family and current_family(family)
    view = view_weights(where, family, facts)
    chosen, fields = _recognise(view)
    if facts and family_module(chosen).FAMILY.facts is None:
        raise SettingsError(
            f"{path} is of {family_title(chosen)}, which needs no further facts: leave out {', '.join(facts)}."
        )
    if where.is_dir() and not holds_network(where) and not view.shapes:
        raise CheckpointError(f"{where} holds no tensor: get its weights again.")
    sha256 = hash_of(where)
    published = _published(where, chosen, fields, source, sha256)
    called = _free_name(name, source, where, sha256, published)
    alike = published or _only_alike(chosen, fields)
    row = CatalogRow.parse(
        _UNKNOWN
        | {"title": called, "protocols": family_module(chosen).FAMILY.protocols}
        | fields
        | (_said_by(published) if published else {})
        | {
            "name": called,
            "family": chosen,
            "file": str(where),
            "source": source if source.startswith("hf:") else str(where),
            "stands_for": alike.name if alike and _gives_way(alike, called, where) else "",
            "sha256": sha256,
            "size_mb": megabytes(sum(file.stat().st_size for file in weight_files(where))),
        }
    )
    check_packages(family_module(chosen).FAMILY, row)
    save_row(row)
    return row


def _said_by(published: CatalogRow) -> dict[str, Any]:
    """Return the fields of a published model's row that do not describe its file."""
    return {name: value for name, value in vars(published).items() if value and name not in _OF_THE_FILE}


def remove_model(name: str) -> CatalogRow:
    """Remove an imported model from the catalogue. Its weights are not deleted.

    Parameters
    ----------
    name : str
        Its name.

    Returns
    -------
    CatalogRow
        The removed row.

    Raises
    ------
    ModelNotFoundError
        If it is unknown or part of the package.
    """
    mine = user_rows()
    if name not in mine:
        what = "comes with napari-foundseg and stays" if name in packaged() else "is not in the catalogue"
        raise ModelNotFoundError(f"{name!r} {what}; models of yours: {', '.join(mine) or 'none'}.")
    delete_row(name)
    return mine[name]


def _where(path: str | Path) -> Path:
    if str(path).startswith(("https:", "http:")):
        raise CheckpointError(
            f"{path} is an address, not a file: models of the catalogue are downloaded by their names "
            "(napari-foundseg models download); get other files with a browser, and import them from where they are."
        )
    if not str(path).startswith("hf:"):
        where = Path(path).expanduser().absolute()
        if where.name in DESCRIPTIONS and where.is_file():
            return where.parent
        # In a dialog that shows only files, users choose a file in a transformers folder to import the folder.
        is_part = where.is_file() and where.suffix.lower() in (".json", ".safetensors", ".bin")
        configs = ("config.json", "adapter_config.json")
        return where.parent if is_part and any((where.parent / name).is_file() for name in configs) else where
    folder = hub_folder(str(path).removeprefix("hf:"))
    if folder is None:
        if named := unsupported_name(str(path)):
            raise CheckpointError(f"{path}: {named}.")
        raise CheckpointError(
            f"{path} is not on this computer. Download it (hf download {str(path).removeprefix('hf:')}) and import it "
            "again."
        )
    return folder


def _recognise(view: WeightsView) -> tuple[str, dict[str, Any]]:
    """Return the first family that recognises weights, and the fields of their row.

    If a family finds the weights damaged, or fails, the other families are still asked.
    """
    candidates = families() if view.family is None else {view.family: family_module(view.family)}
    failed: list[FoundsegError] = []
    for name, module in candidates.items():
        try:
            fields = module.recognise(view)
        except MemoryError:
            raise
        except FoundsegError as error:
            failed.append(error)
        except Exception as error:  # noqa: BLE001 - of whatever shapes tensors are said to be
            problem = CheckpointError(
                f"{view.path} is taken for {family_title(name)}, but tensors are missing or of odd shapes "
                f"({type(error).__name__}: {error!s:.200}). It is damaged or of another model; get it again."
            )
            problem.__cause__ = error
            failed.append(problem)
        else:
            if fields is not None:
                if not holds_network(view.path):
                    _check_readable(view)
                return name, fields
    raise _unrecognised(view, failed)


def _check_readable(view: WeightsView) -> None:
    """Raise CheckpointError if the weights of a recognised model are damaged or contain code."""
    try:
        len(view.shapes)
    except CheckpointError as error:
        raise _named(view.path, error) from error


def _unrecognised(view: WeightsView, failed: Sequence[FoundsegError]) -> FoundsegError:
    """Return the error for weights that no family recognises, with the model's name if it can be identified.

    Otherwise it is the first family's error, if there is one.
    """
    if failed and holds_network(view.path):
        return failed[0]
    try:
        shapes = dict(view.shapes)
    except CheckpointError as error:
        return _named(view.path, error)
    named = kind_of_files(view.path) or unsupported_weights(view.path, shapes, view.config)
    if named:
        return CheckpointError(f"{view.path} {named}.")
    if failed:
        return failed[0]
    kind = view.config.get("model_type") or (view.config.get("architectures") or [None])[0]
    what = f"a {kind} model" if kind else f"{len(shapes)} tensors ({', '.join(list(shapes)[:3]) or 'none'}…)"
    known = "; ".join(dict.fromkeys(family_title(name) for name in families()))
    wanted = "no model that is known here" if view.family is None else f"not {family_title(view.family)}"
    return CheckpointError(f"{view.path} holds {what}, which is {wanted}. What can be imported: {known}.")


def _published(path: Path, family: str, fields: Mapping[str, Any], source: str, sha256: str) -> CatalogRow | None:
    """Return the package's row of a published file; raise CheckpointError if only the file's name matches."""
    for row in packaged().values():
        if row.sha256 == sha256:
            return row
        if not row.source or not _has_name_of(path, source, row):
            continue
        if len(weight_files(path)) < sum(not link.endswith(".txt") for link in (row.source, *row.beside)):
            # Only some of the published files: this is a different model.
            continue
        if row.family != family or row.options != fields.get("options", {}):
            raise CheckpointError(
                f"{path} has the name of {row.title}, but holds {fields.get('title', family)}: it was renamed, or is "
                "the wrong file. Give it its own name and import it again."
            )
        return row
    return None


def _has_name_of(path: Path, source: str, row: CatalogRow) -> bool:
    """Return whether a file or folder has the published name, even if a browser added a number, as in ``sam (1)``."""
    published = row.file or row.source.rpartition("/")[2]
    cached = f"models--{row.source.removeprefix('hf:').replace('/', '--')}"
    return source == row.source or cached in path.parts or re.sub(r" ?\(\d+\)(?=\.|$)", "", path.name) == published


def _only_alike(family: str, fields: Mapping[str, Any]) -> CatalogRow | None:
    """Return the package's row of the same network under another name; None if there is none or more than one."""
    options = fields.get("options", {})
    found = [row for row in packaged().values() if row.source and row.family == family and row.options == options]
    return found[0] if len(found) == 1 else None


def _gives_way(published: CatalogRow, called: str, path: Path) -> bool:
    """Return whether an imported model replaces a package's row that only says where to download the same model."""
    taken = any(row.stands_for == published.name and row.name != called for row in user_rows().values())
    return (
        bool(published.source)
        and called != published.name
        and published.name not in user_rows()
        and not taken
        and locate(published) in (None, path)
    )


def _free_name(name: str | None, source: str, path: Path, sha256: str, published: CatalogRow | None) -> str:
    """Return the name of the new row. It may replace a row whose weights are missing or the same."""
    there = catalog()

    def free(wanted: str) -> bool:
        return wanted not in there or locate(there[wanted]) in (None, path)

    if name is not None:
        if _slug(name) != name:
            raise SettingsError(f"{name!r} is not a valid model name; use letters, digits, '-', '_' and '.'.")
        if not free(name):
            raise SettingsError(f"There is a model {name!r} already; choose another name, or remove it before.")
        return name
    for row in user_rows().values():
        # The same weights were imported before, from this path or from one that no longer exists.
        if row.sha256 == sha256 and locate(row) in (None, path):
            return row.name
    plain = path.stem if path.is_file() else source.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    wanted = published.name if published else _slug(plain) or "model"
    return next(n for n in (wanted, *(f"{wanted}-{i}" for i in range(2, 10_000))) if free(n))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")

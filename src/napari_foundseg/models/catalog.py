"""The catalogue of models, with one row for each model: those of the package and those of the user."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from napari_foundseg.core.errors import ModelNotFoundError, SettingsError
from napari_foundseg.io import folders
from napari_foundseg.io.atomic import atomic_write, named_errors, sweep
from napari_foundseg.io.preferences import preferences
from napari_foundseg.models.files.small_text import read_small_text
from napari_foundseg.models.row_checks import check_values

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = [
    "UNVERIFIED",
    "CatalogRow",
    "Colours",
    "Expected",
    "adopt",
    "base_of",
    "catalog",
    "current_family",
    "damaged_rows",
    "delete_row",
    "models_folder",
    "packaged",
    "row",
    "save_row",
    "user_rows",
]

_log = logging.getLogger(__name__)
#: Hash of weights that have never been read. The first use records the real hash.
UNVERIFIED: Final = "unverified"
#: The contrast that a network expects.
Expected = Literal["as is", "min to max", "percentile"]
#: How a network uses RGB images; see `models.family.Family`.
Colours = Literal["RGB", "grey"]
#: Names of classes by number.
Classes: TypeAlias = tuple[str, ...]
#: Families that were renamed.
_RENAMED_FAMILIES = {"segmenters": "transformers_segmenters"}
#: Protocols that all models of a family implement. Rows from versions before these protocols do not list them.
_ADDED_PROTOCOLS = {"tiny": ("NucleusDecoding",)}


@dataclass(frozen=True, kw_only=True)
class CatalogRow:
    """Facts about a model that are available without its weights."""

    name: str
    """Name in Python, on the command line and in recipes."""
    title: str
    """Name in the window."""
    family: str
    """Name of the model family that loads it, a module below `models.families`."""
    protocols: tuple[str, ...]
    """Protocols of `models.protocols` that it implements."""
    file: str = ""
    """Weights file, or folder with weights: relative to this package or to `models_folder`, or a full path."""
    source: str = ""
    """Where the weights come from: ``hf:owner/name``, a URL, or the path that was imported."""
    beside: tuple[str, ...] = ()
    """URLs of further published files that belong in the same folder, such as micro-sam's instance decoder."""
    stands_for: str = ""
    """Of an imported model: name of the package's row for these weights, which it replaces."""
    sha256: str
    """Hash of the weights, as `store.hash_of` gives it, or `UNVERIFIED`."""
    size_mb: float
    """Size of the weights in 10⁶ bytes."""
    revision: str
    """Version of the weights."""
    code_licence: str
    """SPDX name."""
    weights_licence: str
    """SPDX name."""
    gated: bool = False
    """Whether the hub asks for consent before the download."""
    input: str
    """Images that it accepts, in words."""
    good_for: str = ""
    """What it is good for, in a plain sentence; empty if unknown."""
    finds: tuple[str, ...] = ()
    """What it finds, keys of `choosing.advice.FINDS`; empty: derived from its protocols."""
    modalities: tuple[str, ...] = ()
    """Images that it was mainly trained on, keys of `choosing.advice.MODALITIES`; empty if unknown."""
    citation: str
    """Publications to cite."""
    assumed: str = ""
    """Of an imported model: facts that its weights do not state and that were assumed, and how to change them."""
    classes: Classes = ()
    """Names of the classes that it distinguishes, by number from 0; or the name of one of `class_sets.CLASS_SETS`."""
    options: dict[str, JsonValue] = field(default_factory=dict)
    """Options that only the family reads."""
    expects: Expected | None = None
    """How its network expects grey values (see `core.contrast`); None: as its family says."""
    colours: Colours | None = None
    """How its network uses RGB images, as `Family.colours`; None: as its family says."""
    defaults: dict[str, dict[str, JsonValue]] = field(default_factory=dict)
    """Its own defaults of settings, by task and method, such as ``automatic.decoder``; others are its family's, then
    the task's."""
    calibration: tuple[float, float, float] | None = None
    """Calibration of an instance decoder's scores, for `core.watershed.instance_scores`; None if it was not
    measured."""
    boundary_half: float | None = None
    """h of an instance decoder whose boundary distance is h / (h + d), where d is the distance to the boundary in
    pixels. None if the distance is a share of the object's depth."""
    size_weights: tuple[float, ...] | None = None
    """Weights with which `tasks.windows.sizes` finds the size of objects from an instance decoder; None if they were
    not measured."""

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Make a row from TOML or JSON values; SettingsError names the fields that are wrong or missing."""
        # Rows of earlier versions have a field `tasks`, old names of families, or fewer protocols.
        checked = check_values(cls, {name: value for name, value in values.items() if name != "tasks"})
        family = checked["family"] = current_family(checked["family"])
        protocols = checked["protocols"]
        added = (name for name in _ADDED_PROTOCOLS.get(family, ()) if name not in protocols)
        return cls(**checked | {"protocols": (*added, *protocols)})

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values: tuples become lists."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @property
    def on_server(self) -> bool:
        """Whether the model runs on the user's server, which has its weights."""
        return self.options.get("server") is True

    @property
    def key(self) -> str:
        """Name and hash of the weights; for an adapter also the hash of its options. Equal keys give equal results."""
        if "base_sha256" not in self.options:
            return f"{self.name}@{self.sha256[:16]}"
        options = hashlib.sha256(json.dumps(self.options, sort_keys=True).encode()).hexdigest()
        return f"{self.name}@{self.sha256[:16]}+{options[:16]}"


@cache
def packaged() -> Mapping[str, CatalogRow]:
    """Return the rows of the package, in the order of the file."""
    text = Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8")
    return {name: CatalogRow.parse({"name": name, **values}) for name, values in tomllib.loads(text).items()}


def catalog() -> Mapping[str, CatalogRow]:
    """Return all rows: the package's in the order of the file, then the user's.

    The user's rows replace rows with the same name, and the rows in their field `stands_for`.
    """
    mine = user_rows()
    taken = {row.stands_for for row in mine.values()} - mine.keys()
    return {**{name: row for name, row in packaged().items() if name not in taken}, **mine, **_adopted}


def base_of(row: CatalogRow) -> CatalogRow | None:
    """Return the base model of an adapter; None if the model is no adapter or the base is missing.

    The licences of the base hold for the adapter too.
    """
    return catalog().get(str(row.options.get("base")))


def row(name: str) -> CatalogRow:
    """Return a model's row, or the user's row that stands for it; ModelNotFoundError if there is no such model."""
    # Called several times for each image of a batch, so it does not build the whole catalogue.
    mine = user_rows()
    for rows in (_adopted, mine):
        if name in rows:
            return rows[name]
    for one in mine.values():
        if one.stands_for == name:
            return one
    if name in packaged():
        return packaged()[name]
    for path, reason in damaged_rows().items():
        if Path(path).stem == name:
            raise ModelNotFoundError(f"The row of {name!r} cannot be read: {path}: {reason}. Import it again.")
    from napari_foundseg.models.unsupported import unsupported_name

    named = unsupported_name(name)
    near = "" if named else ", ".join(_near_names(name))
    raise ModelNotFoundError(
        f"There is no model {name!r}{f' ({named})' if named else ''}{f'; do you mean {near}?' if near else '.'} Choose "
        f"one of {', '.join(catalog())}."
    )


def _near_names(name: str) -> list[str]:
    """Return up to five names of models that contain a name, or else are like it."""
    from difflib import get_close_matches

    names = list(catalog())
    containing = [one for one in names if name and name.casefold() in one.casefold()]
    return (containing or get_close_matches(name, names))[:5]


def current_family(name: str) -> str:
    """Return the present name of a family that may have been renamed."""
    return _RENAMED_FAMILIES.get(name, name)


def models_folder() -> Path:
    """Return the folder of the user's rows and of downloaded weights. It may not exist yet."""
    chosen = preferences().models
    return Path(chosen).expanduser() if chosen else folders.data() / "models"


def user_rows() -> Mapping[str, CatalogRow]:
    """Return the user's rows by name. They are read again if their files have changed."""
    folder = models_folder()
    found: list[tuple[str, int, int]] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".toml"):
                # A link to a file that is not there has no facts; reading it names it as damaged.
                facts = None
                with suppress(OSError):
                    facts = entry.stat()
                found.append((entry.name, *((facts.st_mtime_ns, facts.st_size) if facts else (0, 0))))
    found.sort()
    state = (folder, tuple(found))
    if _read.get("state") != state:
        rows, damaged = _rows_of(folder, [name for name, _, _ in found])
        _read.update(state=state, rows=rows, damaged=damaged)
    known: Mapping[str, CatalogRow] = _read["rows"]
    return known


_read: dict[str, Any] = {}
#: Rows that a window sent to this process together with a request.
_adopted: dict[str, CatalogRow] = {}


def damaged_rows() -> Mapping[str, str]:
    """Return the user's rows that cannot be read: path of the file and reason. Other rows are not affected."""
    user_rows()
    damaged: Mapping[str, str] = _read.get("damaged", {})
    return damaged


def _rows_of(folder: Path, names: list[str]) -> tuple[dict[str, CatalogRow], dict[str, str]]:
    """Read rows from files. Return them by name, and the reasons for unreadable files by path."""
    rows = {}
    damaged = {}
    for name in names:
        try:
            rows[name.removesuffix(".toml")] = _read_row(folder / name)
        except RecursionError:
            damaged[str(folder / name)] = "it is nested too deep"
        except Exception as error:  # noqa: BLE001 - one damaged file must not take the others away
            damaged[str(folder / name)] = " ".join(str(error).split())[:300]
    for path, reason in damaged.items():
        _log.warning("%s is not a valid row of the catalogue and is left out: %s", path, reason)
    return rows, damaged


def _read_row(path: Path) -> CatalogRow:
    values = tomllib.loads(read_small_text(path))
    if "name" in values:
        raise SettingsError("name: it is the name of the file; leave it out")
    return CatalogRow.parse({"name": path.name.removesuffix(".toml"), **values})


def save_row(row: CatalogRow) -> None:
    """Write a user's row; raise OutputError if it cannot be written.

    A file in the folder of models is recorded relative to it, so that the folder can be moved as a whole.
    """
    import tomli_w

    folder = models_folder()
    with named_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # Remove the temporary files of an import that was killed.
    sweep(folder)
    values = {name: value for name, value in row.as_json().items() if name != "name" and value is not None}
    if Path(row.file).is_absolute() and Path(row.file).is_relative_to(folder):
        values["file"] = Path(row.file).relative_to(folder).as_posix()
    with atomic_write(folder / f"{row.name}.toml") as file:
        file.write(tomli_w.dumps(values).encode())


def delete_row(name: str) -> None:
    """Remove a user's row, but not its weights; raise OutputError if it cannot be removed."""
    path = models_folder() / f"{name}.toml"
    with named_errors(path):
        path.unlink()


def adopt(row: CatalogRow) -> None:
    """Add the window's row to the catalogue of this process, which may run on a computer without that row."""
    _adopted[row.name] = row

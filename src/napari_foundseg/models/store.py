"""Weights on this computer: their paths, and the check of their hashes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from napari_foundseg.core.errors import CheckpointError, ModelNotFoundError
from napari_foundseg.models.bioimageio.package_files import is_package
from napari_foundseg.models.catalog import UNVERIFIED, CatalogRow, models_folder, save_row
from napari_foundseg.models.downloads.hub_address import hub_parts, is_commit
from napari_foundseg.models.downloads.size_text import size_text
from napari_foundseg.models.families import families, family_module
from napari_foundseg.models.files.small_text import read_small_text

__all__ = [
    "addresses",
    "check_hash",
    "check_here",
    "combined_hash",
    "hash_of",
    "hub_folder",
    "locate",
    "missing_shards",
    "name_in",
    "problem_of",
    "record",
    "row_with_hash",
    "state",
    "weight_files",
    "weights",
]

#: Name patterns of weights in a folder, the safe kind first. If a folder has several kinds, only the first is read.
_WEIGHTS = ("*.safetensors", "*.bin", "*.pth", "*.pt", "*.ckpt", "*.onnx")
#: Prefix of micro-sam's file names: ``vit_b.pt`` and ``vit_b_decoder.pt``, or ``vit_b_lm`` in its cache.
_MICRO_SAM = "vit_"


def weights(row: CatalogRow) -> Path:
    """Return the path of a model's weights, after their hash was checked.

    If the hash is still unknown (`UNVERIFIED`), it is recorded in the user's row. Later checks compare with it.

    Raises CheckpointError if the weights are missing, or their hash differs from the row's.
    """
    path = locate(row)
    if path is None:
        raise CheckpointError(_missing(row))
    found = _hash_of(path, _stamp(path))
    check_hash(row, path, found)
    return path


def check_hash(row: CatalogRow, path: Path, found: str) -> None:
    """Raise CheckpointError if the hash of weights differs from the row's. A row without a hash gets this one."""
    if row.sha256 == UNVERIFIED:
        record(row, path, found)
    elif found != row.sha256:
        again = "install napari-foundseg" if _built_in(row) else "remove them, then download or import them"
        raise CheckpointError(
            f"The weights of {row.name} ({path}) are damaged or not the ones that were here before: sha256 "
            f"{found[:12]}… instead of {row.sha256[:12]}…; {again} again."
        )


def record(row: CatalogRow, path: Path, sha256: str) -> CatalogRow:
    """Save the path, hash and commit of weights in the user's row of a model, and return the row."""
    commit = path.name if path.parent.name == "snapshots" and is_commit(path.name) else row.revision
    new = replace(row, sha256=sha256, file=str(path), revision=commit)
    save_row(new)
    return new


def row_with_hash(row: CatalogRow) -> CatalogRow:
    """Return a row with the hash of its weights. If the hash is unknown, the weights are read.

    Raises CheckpointError if the weights have never been read and are missing.
    """
    if row.sha256 != UNVERIFIED:
        return row
    path = weights(row)
    return replace(row, sha256=_hash_of(path, _stamp(path)), file=str(path))


def locate(row: CatalogRow) -> Path | None:
    """Return the file or folder of a model's weights; None if they are not on this computer."""
    places = [Path(__file__).parent / row.file, models_folder() / row.file] if row.file else []
    for path in places:
        # The name may be invalid on this system, or the folder may not be readable.
        with suppress(OSError, ValueError):
            if path.exists():
                return path
    version = row.revision if is_commit(row.revision) else ""
    parts = hub_parts(row.source)
    if parts is None or row.beside:
        return None
    name, named_version, file = parts
    return _hub_file(name, version or named_version, file) if file else hub_folder(name, version)


def hub_folder(name: str, version: str = "") -> Path | None:
    """Return a snapshot of ``owner/name`` in the cache of the Hugging Face client; None if no complete one is there.

    `version`: a commit; by default the newest one in the cache.
    """
    snapshot = _snapshot(name, version or "main")
    return snapshot if snapshot is not None and _is_complete(snapshot) else None


def _hub_file(name: str, version: str, file: str) -> Path | None:
    """Return a file of a repository in the cache of the Hugging Face client; None if it is not there."""
    snapshot = _snapshot(name, version)
    path = snapshot / file if snapshot else None
    with suppress(OSError, ValueError):
        return path if path is not None and path.is_file() else None
    return None


def _snapshot(name: str, version: str) -> Path | None:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")
    folder = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"models--{name.replace('/', '--')}"
    try:
        commit = version if is_commit(version) else (folder / "refs" / version).read_text(encoding="utf-8")
        snapshot = folder / "snapshots" / commit.strip()
        return snapshot if snapshot.is_dir() else None
    except (OSError, ValueError):
        return None


def _is_complete(snapshot: Path) -> bool:
    """Return whether a snapshot has all its weights. The hub's client may have been stopped during the download."""
    with suppress(CheckpointError, OSError):
        found = weight_files(snapshot)
        return bool(found) and all(part.is_file() for part in found) and not missing_shards(snapshot)
    return False


def missing_shards(folder: Path) -> list[str]:
    """Return the names of weight files that an index in a folder names and that are not there.

    Raises CheckpointError if an index cannot be read.
    """
    kinds = {part.suffix for part in weight_files(folder)}
    missing = []
    for index in sorted(folder.glob("*.index.json")):
        if (folder / index.name.removesuffix(".index.json")).is_file():
            # The weights are there in one file, which every reader prefers.
            continue
        try:
            shards = {str(name) for name in json.loads(read_small_text(index))["weight_map"].values()}
        except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{index} is not an index of weights ({error!r:.200}): get it again.") from error
        # An index for another kind of weights does not count.
        if {Path(name).suffix for name in shards} == kinds:
            missing += [name for name in sorted(shards) if not (folder / name).is_file()]
    return missing


def weight_files(path: Path) -> list[Path]:
    """Return the weight files of a file or folder, sorted.

    Micro-sam's and ONNX files may have a second file next to them, which is then included.
    """
    if not path.is_dir():
        decoder = path.with_name(f"{path.stem}_decoder{path.suffix}")
        if path.name.startswith(_MICRO_SAM) and decoder.is_file():
            return [path, decoder]
        # ONNX models of more than 2 GB have their weights in this file.
        data = path.with_name(f"{path.name}.data")
        return [path, data] if path.suffix.lower() == ".onnx" and data.is_file() else [path]
    kinds = (sorted(path.glob(pattern)) for pattern in _WEIGHTS)
    return next((found for found in kinds if found), []) or _weights_below(path) or _weights_of_package(path)


def _weights_of_package(path: Path) -> list[Path]:
    """Return the weight files anywhere in a package of bioimage.io; empty for other folders."""
    if not is_package(path):
        return []
    return sorted(file for pattern in _WEIGHTS for file in path.rglob(pattern))


def _weights_below(path: Path) -> list[Path]:
    """Return the weight files in subfolders, from the first family whose patterns (`weights_below`) match any."""
    patterns = (module.FAMILY.weights_below for module in families().values())
    found = (sorted({file for pattern in one for file in path.glob(pattern)}) for one in patterns)
    return next((files for files in found if files), [])


def hash_of(path: Path) -> str:
    """Return the sha256 of a file, or of the names and hashes of several files; CheckpointError if unreadable."""
    found = weight_files(path)
    if not found:
        raise CheckpointError(f"{path} holds no weights ({', '.join(_WEIGHTS)}); choose the folder that does.")
    try:
        hashes = {}
        for part in found:
            if not part.is_file():
                # Opening a pipe would wait for ever.
                raise CheckpointError(f"{part} is missing, or is not a file: get the weights again.")
            with part.open("rb") as file:
                hashes[name_in(path, part)] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    return combined_hash(hashes, single=not path.is_dir())


def combined_hash(hashes: Mapping[str, str], *, single: bool) -> str:
    """Return the hash of weights from the hashes of their files by name. A `single` file keeps its own hash."""
    if single and len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(f"{name} {hashes[name]}\n" for name in hashes).encode()).hexdigest()


def name_in(path: Path, part: Path) -> str:
    """Return the name that a weight file has in the hash of its folder: its relative path, or its own name."""
    return part.relative_to(path).as_posix() if path.is_dir() else part.name


def state(row: CatalogRow) -> str:
    """Return the state of a model's weights as text, such as ``built in, 9 MB``."""
    size = size_text(row.size_mb)
    if row.on_server:
        problem = problem_of(row)
        return f"on a server, licence of its weights: {row.weights_licence}" + (f"; {problem}" if problem else "")
    if _built_in(row):
        return f"built in, {size}"
    if locate(row):
        problem = problem_of(row)
        return f"on this computer, {size}" + (f"; {problem}" if problem else "")
    if not addresses(row):
        return f"not on this computer: its weights are no longer at {row.source}"
    return f"not on this computer, {size}: get it from {_link(row)} and import it (napari-foundseg models import FILE)"


def problem_of(row: CatalogRow) -> str:
    """Return a message about a package that is missing and how to install it; empty if nothing is missing."""
    try:
        return family_module(row.family).FAMILY.problem(row)
    except ModelNotFoundError as error:
        return str(error)


def addresses(row: CatalogRow) -> tuple[str, ...]:
    """Return the URLs of a model's weights; empty for built-in models and for files that the user imported."""
    link = row.source.replace("hf:", "https://huggingface.co/", 1)
    return (link, *row.beside) if link.startswith(("https:", "http:")) else ()


def check_here(row: CatalogRow) -> None:
    """Raise CheckpointError if a model's weights are not on this computer. The message is written for a form."""
    if locate(row) is not None:
        return
    if not addresses(row):
        raise CheckpointError(
            _missing(row).partition(", or import")[0].rstrip(".")
            + ", or press Import… to add them from where they are."
        )
    raise CheckpointError(
        f"{row.title} is not on this computer: get it at {_link(row)} ({size_text(row.size_mb)}, licence of the "
        f"weights: {row.weights_licence}), then press Import… to add it."
    )


def _built_in(row: CatalogRow) -> bool:
    return not row.source


def _missing(row: CatalogRow) -> str:
    if _built_in(row):
        return f"The weights of {row.name} are missing ({row.file}); install napari-foundseg again."
    if Path(row.source).is_absolute():
        return (
            f"The weights of {row.name} are no longer at {row.source}. Put them back, or import them from where they "
            f"are now: napari-foundseg models import FILE --name {row.name}"
        )
    return (
        f"The weights of {row.name} ({size_text(row.size_mb)}, {row.weights_licence}) are missing: they are not on "
        f"this computer. Download them: napari-foundseg models download {row.name} (from {_link(row)}). A file that "
        "you have: napari-foundseg models import FILE"
    )


def _link(row: CatalogRow) -> str:
    return " and ".join(addresses(row)) + (f", into one folder called {row.file}," if row.beside else "")


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Return the times and sizes of files. While they do not change, a process hashes the weights only once."""
    return tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in weight_files(path))


@cache
def _hash_of(path: Path, _stamp: tuple[tuple[str, int, int], ...]) -> str:
    return hash_of(path)

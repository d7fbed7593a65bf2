"""The check and the removal of a model's weights."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from napari_foundseg.core.errors import Cancelled, CheckpointError, ModelInUseError, ModelNotFoundError
from napari_foundseg.io.atomic import named_errors
from napari_foundseg.models.catalog import UNVERIFIED, CatalogRow, delete_row, models_folder, user_rows
from napari_foundseg.models.downloads.model_state import model_state
from napari_foundseg.models.downloads.places import download_folder
from napari_foundseg.models.downloads.size_text import bytes_text
from napari_foundseg.models.store import check_hash, combined_hash, locate, name_in, weight_files, weights

__all__ = ["remove", "remove_part", "verify"]

_CHUNK = 1 << 22


def _no_progress(_share: float, _words: str) -> None:
    pass


def verify(
    row: CatalogRow,
    progress: Callable[[float, str], None] = _no_progress,
    cancelled: Callable[[], bool] = lambda: False,
) -> str:
    """Compare the hash of a model's weights on the disk with the recorded hash; return the outcome as a sentence.

    Raises CheckpointError if the weights are missing, or differ from those of the catalogue or of the first use.
    """
    path = locate(row)
    if path is None:
        # This raises an error that names the missing file.
        weights(row)
        raise CheckpointError(f"The weights of {row.name} are missing.")
    parts = weight_files(path)
    try:
        total = sum(part.stat().st_size for part in parts)
        hashes = {}
        done = 0
        for part in parts:
            digest = hashlib.sha256()
            with part.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    if cancelled():
                        raise Cancelled("The check was cancelled.")
                    digest.update(chunk)
                    done += len(chunk)
                    progress(done / total, bytes_text(done, total))
            hashes[name_in(path, part)] = digest.hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    found = combined_hash(hashes, single=not path.is_dir())
    check_hash(row, path, found)
    if row.sha256 == UNVERIFIED:
        return f"{row.name}: its hash was not recorded before; from now on it is sha256 {found}"
    return f"{row.name} is unchanged: sha256 {found}"


def remove(row: CatalogRow) -> str:
    """Remove a model's entry and its download; return a sentence about the files that were deleted or kept.

    Raises ModelNotFoundError if there is nothing to remove, ModelInUseError if another model needs it, and OutputError
    if it cannot be deleted.
    """
    state = model_state(row)
    if state.why_no_removal:
        mine = ", ".join(user_rows()) or "none"
        raise ModelNotFoundError(f"{row.name!r} cannot be removed: {state.why_no_removal} Models of yours: {mine}.")
    if needing := _needing(row):
        raise ModelInUseError(f"{row.name} stays, since {', '.join(needing)} needs it; remove that first.")
    _let_go(row)
    shared = _sharing(row, state.path) if state.path is not None else []
    if state.path is not None and state.deletes and not shared:
        _delete(state.path if not state.path.is_relative_to(download_folder(row)) else download_folder(row))
    elif state.kind == "part":
        _delete(download_folder(row))
    if row.name in user_rows():
        delete_row(row.name)
    if shared:
        return f"removed {row.name}. Its weights stay at {state.path}, since {', '.join(shared)} uses them."
    return f"removed {row.name}. {state.removal}"


def remove_part(row: CatalogRow) -> int:
    """Delete the unfinished download of a model, and return its size in bytes; OutputError if that fails."""
    state = model_state(row)
    if state.kind == "part":
        _delete(download_folder(row))
    return state.part_bytes


def _needing(row: CatalogRow) -> list[str]:
    """Return the names of the user's models that need a model, such as its adapters: their options contain its name."""
    return [
        other.name for other in user_rows().values() if other.name != row.name and row.name in other.options.values()
    ]


def _sharing(row: CatalogRow, path: Path) -> list[str]:
    """Return the names of the user's other models that use the same file or folder, or the same download."""
    whole = download_folder(row) if path.is_relative_to(download_folder(row)) else path
    return [
        other.name
        for other in user_rows().values()
        if other.name != row.name and other.file and (models_folder() / other.file).is_relative_to(whole)
    ]


def _let_go(row: CatalogRow) -> None:
    """Unload the model, since Windows cannot delete a file that is in use."""
    loading = sys.modules.get("napari_foundseg.models.loading")
    if loading is not None:
        loading.forget_model(row.name)


def _delete(path: Path) -> None:
    with named_errors(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

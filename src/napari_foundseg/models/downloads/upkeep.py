"""The check and the removal of a model's weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from napari_foundseg.core.errors import ModelNotFoundError
from napari_foundseg.io.atomic import named_errors
from napari_foundseg.models.catalog import CatalogRow, delete_row, packaged, user_rows
from napari_foundseg.models.downloads.model_state import model_state
from napari_foundseg.models.downloads.places import download_folder
from napari_foundseg.models.store import hash_of, weights

__all__ = ["remove", "remove_part", "verify"]


def _no_progress(_share: float, _words: str) -> None:
    pass


def verify(
    row: CatalogRow,
    progress: Callable[[float, str], None] = _no_progress,
    cancelled: Callable[[], bool] = lambda: False,
) -> str:
    """Read all weights of a model again, and say in words what they were found to be.

    Raises CheckpointError if they are missing, or not the ones that the catalogue names or that were here before.
    """
    del progress, cancelled
    path = weights(row)
    return f"{row.name} is as it was: sha256 {hash_of(path)}"


def remove(row: CatalogRow) -> str:
    """Remove a model's entry and what was downloaded of it, and say in words what was deleted and what stays.

    Raises ModelNotFoundError if there is nothing to remove, and OutputError if it cannot be deleted.
    """
    state = model_state(row)
    if state.why_no_removal:
        what = "comes with napari-foundseg and stays" if row.name in packaged() else "is not in the catalogue"
        raise ModelNotFoundError(f"{row.name!r} {what}. {state.why_no_removal}")
    remove_part(row)
    if row.name in user_rows():
        delete_row(row.name)
    return f"removed {row.name}. {state.removal}"


def remove_part(row: CatalogRow) -> int:
    """Delete the unfinished download of a model, and return how many bytes that were; OutputError if it cannot be."""
    state = model_state(row)
    folder = download_folder(row)
    if state.kind == "part" and folder.exists():
        with named_errors(folder):
            shutil.rmtree(folder)
    return state.part_bytes

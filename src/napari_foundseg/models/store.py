"""The weight store: where a model's weights lie, and whether they are the right ones."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow

__all__ = ["state", "weights"]


@cache
def weights(row: CatalogRow) -> Path:
    """Return the checked weights file of a model.

    Parameters
    ----------
    row : CatalogRow
        The model.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        If the file is absent or is not the one the catalogue names.
    """
    path = Path(str(files("napari_foundseg.models").joinpath(row.file)))
    if not path.is_file():
        raise CheckpointError(f"The weights of {row.name} are missing ({path}); install napari-foundseg again.")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != row.sha256:
        raise CheckpointError(
            f"The weights of {row.name} ({path}) are damaged: sha256 {found[:12]}… instead of {row.sha256[:12]}…; "
            "install napari-foundseg again."
        )
    return path


def state(row: CatalogRow) -> str:
    """Say in words how a model is at hand.

    Parameters
    ----------
    row : CatalogRow
        The model.

    Returns
    -------
    str
        Such as ``built in, 9 MB``.
    """
    return f"built in, {row.size_mb:.0f} MB"

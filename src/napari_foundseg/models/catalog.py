"""The catalogue: a model is a row."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict

from napari_foundseg.core.errors import ModelNotFoundError

__all__ = ["CatalogRow", "catalog", "models_for", "row"]


class CatalogRow(BaseModel):
    """What is known of a model before a byte of it is loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Name in Python, on the command line and in recipes."""
    title: str
    """Name in the window."""
    family: str
    """Module of `models` that loads it."""
    tasks: tuple[str, ...]
    """Names of the tasks it can do."""
    protocols: tuple[str, ...]
    """Protocols of `models.protocols` that it implements."""
    file: str
    """Weights file, relative to this package."""
    sha256: str
    """Hash of the weights file."""
    size_mb: float
    """Size of the weights file in 10⁶ bytes."""
    revision: str
    """Version of the weights."""
    code_licence: str
    """SPDX name."""
    weights_licence: str
    """SPDX name."""
    gated: bool
    """Whether its hub asks for consent before the download."""
    input: str
    """What images it takes, in words."""
    citation: str
    """What to cite."""
    calibration: tuple[float, float, float] | None = None
    """Of an instance decoder's scores, as `core.maps.instance_scores` takes it; None where nobody measured it."""


@cache
def catalog() -> Mapping[str, CatalogRow]:
    """Read the catalogue.

    Returns
    -------
    mapping of str to CatalogRow
        In the order of the file; the first row of a task is its default model.
    """
    text = files("napari_foundseg.models").joinpath("catalog.toml").read_text(encoding="utf-8")
    return {name: CatalogRow(name=name, **values) for name, values in tomllib.loads(text).items()}


def row(name: str) -> CatalogRow:
    """Return a model's row.

    Parameters
    ----------
    name : str
        Its name.

    Returns
    -------
    CatalogRow
        The row.

    Raises
    ------
    ModelNotFoundError
        Listing the names there are.
    """
    if name not in catalog():
        raise ModelNotFoundError(f"There is no model {name!r}; choose one of {', '.join(catalog())}.")
    return catalog()[name]


def models_for(task: str) -> list[CatalogRow]:
    """Return the models that can do a task.

    Parameters
    ----------
    task : str
        The task's name.

    Returns
    -------
    list of CatalogRow
        The default first.
    """
    return [r for r in catalog().values() if task in r.tasks]

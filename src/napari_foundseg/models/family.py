"""Declarations of model families, and the view of a weights file that families recognise."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from napari_foundseg.core.errors import PackageError
from napari_foundseg.models.catalog import CatalogRow, Colours, Expected

if TYPE_CHECKING:
    from pydantic import JsonValue

    from napari_foundseg.core.declared_fields import Declared

__all__ = ["Family", "FamilyModule", "Package", "WeightsView", "check_packages", "installed_version"]


class Package(NamedTuple):
    """A distribution that a family imports."""

    name: str
    """Name of the package for pip."""
    minimum: str = ""
    """Oldest version that works, such as ``5.20``; empty if the package's own dependencies ensure it."""


def _none(_options: Mapping[str, Any]) -> tuple[Package, ...]:
    return ()


@dataclass(frozen=True)
class Family:
    """Facts about a model family that the package needs before a model is loaded.

    Every module in `models/families/<kind>/` has one, called ``FAMILY``.

    Parameters
    ----------
    rank : int
        Families of a lower rank are asked first whether they recognise a file. If two families would recognise the same
        file, the right one needs the lower rank.
    protocols : tuple of str
        Names of all protocols that its models may implement. If they depend on the file, `recognise` returns the
        file's own in the field ``protocols``.
    verified_against : str
        The reference that its tests compare results with, for the table of models.
    title : str
        Name of its models for users, such as ``SAM-HQ``. If empty, the name of the module is used.
    weights_below : tuple of str
        Where to find the weights in its folders if they are not at the top: patterns of `pathlib.Path.glob`, such as
        ``models/model.pt``.
    packages : tuple of Package
        Packages that all its models import. The provenance of results includes their versions.
    more_packages : callable
        Takes the options of a row; returns the packages that only models with these options need.
    pickle_names : tuple of str
        Top-level packages that its published pickles mention besides the weights, for example for a trainer's options.
        Their objects are replaced by empty ones; nothing of these packages is imported or run.
    expects : {'as is', 'min to max', 'percentile'}
        The contrast that its networks expect of grey values, as in their authors' preparation; see `core.contrast`. The
        ``expects`` of a row overrides it.
    colours : {'RGB', 'grey'}
        How its networks use RGB images. RGB: the networks have learnt from colours, as in photographs. Grey: pictures
        with one colour, or with dyes on black, work better when they are converted to grey; see `core.pixels.colour`.
    defaults : mapping of str to mapping
        Settings whose defaults differ from those of the task, by task and method, such as
        ``{"automatic.decoder": {"min_area": 0}}``. The ``defaults`` of a row override them one by one.
    facts : type, optional
        Facts that the user can state about its files where the files do not contain them. `recognise` receives them as
        `facts`.
    """

    rank: int
    protocols: tuple[str, ...]
    verified_against: str
    title: str = ""
    weights_below: tuple[str, ...] = ()
    packages: tuple[Package, ...] = ()
    more_packages: Callable[[Mapping[str, Any]], tuple[Package, ...]] = _none
    pickle_names: tuple[str, ...] = ()
    expects: Expected = "percentile"
    colours: Colours = "RGB"
    defaults: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)
    facts: type[Declared] | None = None

    def problem(self, row: CatalogRow) -> str:
        """Return a message if a package of a model is missing or too old; empty if none is."""
        try:
            more = self.more_packages(row.options)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return f"the options of its row are damaged ({type(error).__name__}: {error}); import it again"
        return _problem(row.title, (*self.packages, *more))


@dataclass(frozen=True)
class WeightsView:
    """The view of a weights file or folder that `recognise` gets. Nothing of the file is loaded or run.

    Parameters
    ----------
    path : Path
        The file or folder.
    shapes : mapping of str to tuple of int
        Shape of each tensor by name, as from `models.files.checkpoints.read_shapes`. The file is read at the first
        access, so families that recognise their folders by the configuration do not need to read it.
    config : mapping
        A folder's ``config.json`` (transformers) or ``foundseg.json`` (this package), or a safetensors file's metadata.
    family : str, optional
        The family that the user chose.
    facts : mapping
        Facts that the user stated; values of the family's ``facts``.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    config: Mapping[str, Any]
    family: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class FamilyModule(Protocol):
    """The interface of a model family's module."""

    FAMILY: Family

    def load(self, row: CatalogRow, path: Path, device: str) -> Any:
        """Load the model of a row, in evaluation mode; raise CheckpointError if the weights have another layout."""

    def recognise(self, found: WeightsView) -> dict[str, Any] | None:
        """Return catalogue fields for a file, None if it is of another family; CheckpointError if it is damaged."""


def check_packages(family: Family, row: CatalogRow) -> None:
    """Raise PackageError if a package that a model needs is missing or too old."""
    if problem := family.problem(row):
        raise PackageError(problem)


@cache
def installed_version(package: str) -> str:
    """Return the version of an installed package; empty if it is not installed."""
    # Slow to import, and only families that need extra packages use it.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _problem(title: str, packages: tuple[Package, ...]) -> str:
    for package in packages:
        installed = installed_version(package.name)
        needed = f"{package.name} {package.minimum}".strip()
        if not installed:
            return f"{title} needs {needed}, which is not installed. pip install {package.name}"
        if _numbers(installed) < _numbers(package.minimum):
            return f"{title} needs {needed}; {installed} is installed. pip install -U {package.name}"
    return ""


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:3])

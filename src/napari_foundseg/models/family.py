"""Declarations of model families, and how families see a file of weights."""

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
    """As pip knows it."""
    minimum: str = ""
    """Oldest version that works, such as ``5.20``; empty where the package's own dependencies ensure it."""


def _none(_options: Mapping[str, Any]) -> tuple[Package, ...]:
    return ()


@dataclass(frozen=True)
class Family:
    """Facts about a model family that the rest of the package needs without loading a model.

    Every module in `models/families/<kind>/` has one, called ``FAMILY``.

    Parameters
    ----------
    rank : int
        Families of a lower rank are asked first whether they recognise a file. A family whose files another one would
        recognise too needs a lower rank than that.
    protocols : tuple of str
        Names of all protocols that its models may implement. Where they depend on the file, `recognise` returns the
        field ``protocols`` with those of the file.
    verified_against : str
        What its tests compare results with, for the table of models.
    title : str
        What people call its models, such as ``SAM-HQ``; empty: the name of its module.
    weights_below : tuple of str
        Where weights lie in its folders if not at the top, as patterns of `pathlib.Path.glob` such as
        ``models/model.pt``.
    packages : tuple of Package
        Packages that all its models import. Their versions are written into the provenance of results.
    more_packages : callable
        Takes the options of a row; returns packages that only models with these options need.
    pickle_names : tuple of str
        Top-level packages that its published pickles name next to the weights (a trainer's options, say). Their
        objects are left empty; nothing of them is imported or run.
    expects : {'as is', 'min to max', 'percentile'}
        How its networks expect grey values, as their authors prepare pictures; see `core.contrast`. A row's own
        ``expects`` replaces it.
    colours : {'RGB', 'grey'}
        What its networks make of RGB images. RGB: colours are part of what they know, as of photographs and words.
        Grey: a picture of one colour, or of dyes on black, is seen better as a grey one; see `core.pixels.colour`.
    defaults : mapping of str to mapping
        Settings whose defaults are other than the task's, by task and method, such as
        ``{"automatic.decoder": {"min_area": 0}}``. A row's own ``defaults`` replace them one by one.
    facts : type, optional
        What the user can say of its files, where they do not say it themselves; `recognise` gets it as `facts`.
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
        """Say which package is missing or too old for a model; empty if none is."""
        try:
            more = self.more_packages(row.options)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return f"the options of its row are damaged ({type(error).__name__}: {error}); import it again"
        return _problem(row.title, (*self.packages, *more))


@dataclass(frozen=True)
class WeightsView:
    """A file or folder of weights as `recognise` sees it: nothing of it is loaded or run.

    Parameters
    ----------
    path : Path
        The file or folder.
    shapes : mapping of str to tuple of int
        Shape of each tensor by name, as `models.files.checkpoints.read_shapes` returns it. The file is read when one
        is asked for, so a family that knows its folders by their configuration costs nothing.
    config : mapping
        A folder's ``config.json`` (transformers) or ``foundseg.json`` (ours), or a safetensors file's metadata.
    family : str, optional
        The family that the user chose for it.
    facts : mapping
        What the user says of it; values of the family's ``facts``.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    config: Mapping[str, Any]
    family: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class FamilyModule(Protocol):
    """A module of a model family."""

    FAMILY: Family

    def load(self, row: CatalogRow, path: Path, device: str) -> Any:
        """Return the model of a row, in evaluation mode; CheckpointError if the weights have another layout."""

    def recognise(self, found: WeightsView) -> dict[str, Any] | None:
        """Return fields of the row of a file, None if it is of another family; CheckpointError if it is damaged."""


def check_packages(family: Family, row: CatalogRow) -> None:
    """Raise PackageError if a package that a model needs is missing or too old."""
    if problem := family.problem(row):
        raise PackageError(problem)


@cache
def installed_version(package: str) -> str:
    """Return the version of an installed package; empty where it is not installed."""
    # Takes a while to import, and is of no use to a family without packages of its own.
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

"""`Item`: one image of a batch, or one slice of it, and which items a recipe has."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from napari_foundseg.batch.recipe import Recipe
from napari_foundseg.core.errors import FoundsegError, RecipeError
from napari_foundseg.io.naming import SUFFIX, free_stem, is_image_name, natural
from napari_foundseg.io.readers import read_image

__all__ = ["Item", "items_of", "output_folder"]

_PATTERN = frozenset("*?[")
#: The image that labels in a folder belong to, by what their names begin with; kept by `batch.ledger`.
_LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class Item:
    """One image of a batch, or one slice of it.

    Parameters
    ----------
    name : str
        What a person knows it by: the file as the recipe's folder sees it, and the slice.
    path : Path
        The file.
    index : tuple of int or None
        The slice, one number for each of the image's axes of slices; None for the whole file.
    stem : str
        What the names of its results begin with; no other item of the batch has it, in whatever case.
    """

    name: str
    path: Path
    index: tuple[int, ...] | None
    stem: str


def output_folder(recipe: Recipe, folder: Path, out: Path | None = None) -> Path:
    """Return where the results of a recipe go.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    folder : Path
        The recipe's folder.
    out : Path, optional
        Another folder than the recipe says.

    Returns
    -------
    Path
        Absolute; it need not exist.
    """
    return (out if out is not None else folder / recipe.outputs.folder).absolute()


def items_of(recipe: Recipe, folder: Path, out: Path | None = None) -> list[Item]:
    """Return the items of a recipe.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    folder : Path
        The folder that its paths start from.
    out : Path, optional
        The folder of the results, where it is not the recipe's; what lies in it is no input.

    Returns
    -------
    list of Item
        In the order of the recipe's paths, inside a folder or pattern in natural order; each file once, however often
        and by whatever way it is named.

    Raises
    ------
    RecipeError
        If one of the paths leads to no image.
    """
    raise NotImplementedError

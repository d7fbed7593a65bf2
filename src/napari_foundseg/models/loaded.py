"""What loaded models of one network have in common: name, key, device, and where they know classes, their table."""

from __future__ import annotations

from typing import Any

from napari_foundseg.core.classes.class_table import ClassRow, ClassTable, class_colour
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import known_stuff

__all__ = ["Loaded", "LoadedClasses", "LoadedWords", "class_table"]

_BACKGROUND = {"background", "__background__", "_background_", "unlabeled", "unlabelled"}
#: Protocols of models that tell objects apart.
_OF_OBJECTS = {"CentreOffsets", "InstanceMasks", "PanopticSegments"}


class Loaded:
    """A network and what its row says of it.

    Parameters
    ----------
    network : torch.nn.Module
        The network.
    row : CatalogRow
        Its row.
    """

    def __init__(self, network: Any, row: CatalogRow) -> None:
        self.network = network
        self.name = row.name
        self.key = row.key

    @property
    def device(self) -> str:
        """Where it runs, as torch writes it."""
        return str(next(self.network.parameters()).device)


class LoadedClasses(Loaded):
    """A network that knows classes of its own.

    Parameters
    ----------
    network : torch.nn.Module
        The network.
    row : CatalogRow
        Its row, with classes; its option ``stuff`` may name those that come in no objects.
    """

    def __init__(self, network: Any, row: CatalogRow) -> None:
        super().__init__(network, row)
        stuff = row.options.get("stuff")
        named = tuple(str(name) for name in stuff) if isinstance(stuff, list) else None
        #: What is added to the network's number of a class to get its id.
        self.classes, self.first = class_table(
            row.classes, things=not _OF_OBJECTS.isdisjoint(row.protocols), stuff=named
        )


class LoadedWords(Loaded):
    """A network that takes pictures and texts.

    Parameters
    ----------
    network : transformers.PreTrainedModel
        The network.
    images : transformers image processor
        Of the same folder.
    tokenizer : transformers tokenizer
        Of the same folder.
    row : CatalogRow
        Its row.
    """

    def __init__(self, network: Any, images: Any, tokenizer: Any, row: CatalogRow) -> None:
        super().__init__(network, row)
        self.images = images
        self.tokenizer = tokenizer


def class_table(
    names: tuple[str, ...], *, things: bool, stuff: tuple[str, ...] | None = None
) -> tuple[ClassTable, int]:
    """Make the class table of a model.

    Parameters
    ----------
    names : tuple of str
        Its classes by number from 0.
    things : bool
        Whether it tells objects apart at all.
    stuff : tuple of str, optional
        Names of those that come in no objects; by default as the data set has them, where that is known.

    Returns
    -------
    table : ClassTable
        A row a class.
    first : int
        What is added to a model's number to get the class's id: 0 where number 0 is background, which has no row.
    """
    background = bool(names) and names[0].strip().lower() in _BACKGROUND
    first = 0 if background else 1
    if stuff is None:
        stuff = known_stuff(names)
    rows = [
        ClassRow(
            id=i + first,
            name=name,
            colour=class_colour(i + first),
            kind="thing" if things and name not in stuff else "stuff",
        )
        for i, name in enumerate(names)
        if i + first
    ]
    return ClassTable(tuple(rows)), first

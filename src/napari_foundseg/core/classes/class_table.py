"""The class table: names and colours of the classes of a result, one row per class.

A *thing* comes in objects that can be counted; *stuff* (background, tissue, sky) does not (Kirillov et al., *Panoptic
Segmentation*, CVPR 2019). Class 0 means no class and has no row.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_foundseg.core.declared_fields import Declared

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OBJECT", "ClassRow", "ClassTable", "class_colour"]

#: Okabe and Ito's colours without black. People with a colour vision deficiency can also tell them apart.
_FIRST = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
#: Step in hue as a share of the full circle; successive hues are far apart.
_GOLDEN = 0.6180339887498949


def class_colour(number: int) -> str:
    """Return the default colour of a class.

    Returns
    -------
    str
        ``#rrggbb``, always the same for the same number.
    """
    if number <= len(_FIRST):
        return _FIRST[number - 1]
    value = (0.95, 0.75, 0.55)[number % 3]
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.65, value)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


class ClassRow(Declared):
    """One class."""

    id: int = Field(ge=1)
    """Its number in a semantic label image and in the column ``class`` of object tables."""
    name: str = Field(min_length=1)
    """Its name."""
    colour: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    """Its colour, ``#rrggbb``."""
    kind: Literal["thing", "stuff"] = "thing"
    """Whether the class is made of objects (things)."""
    area: int = Field(0, ge=0)
    """Number of its pixels."""
    count: int = Field(0, ge=0)
    """Number of its objects; 0 for stuff."""


@dataclass(frozen=True)
class ClassTable:
    """All classes of a result. It is immutable: each change returns another table."""

    rows: tuple[ClassRow, ...] = ()

    def __post_init__(self) -> None:
        ids = [row.id for row in self.rows]
        if len(set(ids)) != len(ids):
            raise ValueError(f"the class table has two rows for one id: {ids}")

    @classmethod
    def of(
        cls, names: Iterable[str], *, stuff: Iterable[str] = (), colours: Sequence[str | None] | None = None
    ) -> Self:
        """Return a table of classes 1 to n.

        Parameters
        ----------
        stuff : iterable of str
            Names of the classes that do not come in objects.
        colours : sequence of str or None, optional
            ``#rrggbb`` for each class; None for the default colour.
        """
        listed = list(names)
        no_things = set(stuff)
        given = list(colours) if colours is not None else [None] * len(listed)
        return cls(
            tuple(
                ClassRow(
                    id=i, name=name, colour=colour or class_colour(i), kind="stuff" if name in no_things else "thing"
                )
                for i, (name, colour) in enumerate(zip(listed, given, strict=True), 1)
            )
        )

    @classmethod
    def from_json(cls, rows: Iterable[Mapping[str, Any]]) -> Self:
        """Return the table that a result of `to_json` describes.

        Parameters
        ----------
        rows : iterable of mapping
            The rows.

        Raises
        ------
        ValueError
            If a row is incomplete or repeated.
        """
        return cls(tuple(ClassRow.model_validate(dict(row)) for row in rows))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the table as plain values, for provenance, layers and files."""
        return [row.model_dump() for row in self.rows]

    def to_frame(self) -> pd.DataFrame:
        """Return the table as a data frame.

        Returns
        -------
        pandas.DataFrame
            The columns are the fields of `ClassRow`.
        """
        import pandas as pd

        return pd.DataFrame([row.model_dump() for row in self.rows], columns=list(ClassRow.model_fields))

    def __iter__(self) -> Iterator[ClassRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, number: object) -> bool:
        return any(row.id == number for row in self.rows)

    def __getitem__(self, number: int) -> ClassRow:
        for row in self.rows:
            if row.id == number:
                return row
        raise KeyError(f"there is no class {number}; the table has {self.ids}")

    @property
    def ids(self) -> tuple[int, ...]:
        """The numbers of the classes, in the table's order."""
        return tuple(row.id for row in self.rows)

    @property
    def things(self) -> tuple[int, ...]:
        """The numbers of the classes that come in objects."""
        return tuple(row.id for row in self.rows if row.kind == "thing")

    def name_of(self, number: int) -> str:
        """Return a class's name, or an empty string if it has no row."""
        return next((row.name for row in self.rows if row.id == number), "")

    def with_row(self, number: int, **fields: Any) -> Self:
        """Return the table with other values in one row, such as a new name or colour.

        Raises
        ------
        KeyError
            If there is no such class.
        ValueError
            If a value does not fit its field.
        """
        changed = ClassRow.model_validate({**self[number].model_dump(), **fields})
        return type(self)(tuple(changed if row.id == number else row for row in self.rows))

    def merged(self, numbers: Iterable[int], into: int) -> Self:
        """Return the table with some classes merged into another.

        Parameters
        ----------
        into : int
            The class that remains, with its name, colour and kind.

        Returns
        -------
        ClassTable
            The table without the merged rows. Areas and counts are added up.
        """
        gone = set(numbers) - {into}
        parts = [row for row in self.rows if row.id in gone | {into}]
        kept = type(self)(tuple(row for row in self.rows if row.id not in gone))
        area = sum(row.area for row in parts)
        count = sum(row.count for row in parts) if self[into].kind == "thing" else 0
        return kept.with_row(into, area=area, count=count)

    def joined(self, other: ClassTable) -> tuple[Self, dict[int, int]]:
        """Return the table with another's classes appended. Classes of the same name become one.

        Returns
        -------
        table : ClassTable
            The joined table. Areas and counts are those of the first table that has the class.
        numbers : dict of int to int
            For each class of `other`, its number in the joined table.
        """
        rows = list(self.rows)
        numbers = {}
        for row in other:
            class_id = next((own.id for own in self.rows if own.name == row.name), None)
            if class_id is None:
                class_id = max((own.id for own in rows), default=0) + 1
                colour = class_colour(class_id) if row.colour in {own.colour for own in rows} else row.colour
                rows.append(row.model_copy(update={"id": class_id, "colour": colour}))
            numbers[row.id] = class_id
        return type(self)(tuple(rows)), numbers

    def measured(self, semantic: NDArray[Any] | None, classes: Iterable[int] = ()) -> Self:
        """Return the table with measured areas and counts.

        Parameters
        ----------
        semantic : ndarray of unsigned int or None
            Class of each pixel; None keeps the areas.
        """
        pixels = np.bincount(semantic.ravel()) if semantic is not None else None
        objects = np.bincount(np.fromiter(classes, np.int64))

        def at(counts: NDArray[Any], number: int) -> int:
            return int(counts[number]) if number < len(counts) else 0

        return type(self)(
            tuple(
                row.model_copy(
                    update={
                        "area": row.area if pixels is None else at(pixels, row.id),
                        "count": at(objects, row.id) if row.kind == "thing" else 0,
                    }
                )
                for row in self.rows
            )
        )


#: The table of a task that finds objects of no particular class.
OBJECT = ClassTable.of(["object"])

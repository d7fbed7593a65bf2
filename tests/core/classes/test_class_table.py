from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_foundseg.core.classes.class_table import ClassTable, class_colour

TABLE = ClassTable.of(["cell", "debris", "background"], stuff=["background"])


def test_areas_and_counts_are_those_of_the_pixels_and_objects() -> None:
    semantic = np.array([[1, 1, 3], [3, 3, 0]], np.uint8)
    measured = TABLE.measured(semantic, [1, 1, 3])
    assert [(row.area, row.count) for row in measured] == [(2, 2), (0, 0), (3, 0)]
    assert list(measured.to_frame().columns) == ["id", "name", "colour", "kind", "area", "count"]


def test_a_table_survives_json() -> None:
    assert ClassTable.from_json(TABLE.to_json()) == TABLE


@given(st.integers(1, 300), st.integers(1, 300))
def test_classes_have_colours_of_their_own(a: int, b: int) -> None:
    assert (class_colour(a) == class_colour(b)) == (a == b)


def test_a_row_is_renamed_and_recoloured_and_nothing_else_changes() -> None:
    changed = TABLE.with_row(2, name="dirt", colour="#123456")
    assert (changed[2].name, changed[2].colour, changed[2].kind) == ("dirt", "#123456", "thing")
    assert (changed[1], changed[3]) == (TABLE[1], TABLE[3])
    assert TABLE[2].name == "debris"
    with pytest.raises(KeyError, match="no class 9"):
        TABLE.with_row(9, name="x")
    with pytest.raises(ValueError, match="colour"):
        TABLE.with_row(1, colour="red")


def test_merged_classes_add_up() -> None:
    measured = TABLE.measured(np.array([[1, 2, 2, 3]], np.uint8), [1, 2, 2])
    merged = measured.merged([2], into=1)
    assert merged.ids == (1, 3)
    assert (merged[1].name, merged[1].area, merged[1].count) == ("cell", 3, 3)
    assert merged.name_of(2) == ""
    assert measured.merged([1], into=3)[3].count == 0


def test_tables_are_joined_by_name() -> None:
    joined, numbers = TABLE.joined(ClassTable.of(["debris", "mitosis"]))
    assert numbers == {1: 2, 2: 4}
    assert [row.name for row in joined] == ["cell", "debris", "background", "mitosis"]
    assert len({row.colour for row in joined}) == 4


def test_one_id_has_one_row() -> None:
    with pytest.raises(ValueError, match="two rows"):
        ClassTable((TABLE[1], TABLE[1]))

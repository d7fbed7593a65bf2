"""Fields and the strings below them."""

from __future__ import annotations

import pytest
from pydantic import Field, ValidationError

from napari_foundseg.core.declared_fields import Declared


class Part(Declared):
    """A part."""

    size: int = Field(3, ge=1)
    """How large
    it is."""
    bare: str = ""


class Whole(Part):
    """A whole."""

    part: Part = Part()
    """What it is made of."""


def test_the_string_below_a_field_is_its_help() -> None:
    assert Whole.help_of("size") == "How large\nit is."
    assert Whole.help_of("part") == "What it is made of."
    assert Whole.help_of("bare") == Whole.help_of("none such") == ""


def test_the_schema_has_the_help_of_every_part() -> None:
    schema = Whole.model_json_schema()
    assert schema["properties"]["part"]["description"] == "What it is made of."
    assert schema["$defs"]["Part"]["properties"]["size"]["description"] == "How large\nit is."
    assert "description" not in schema["properties"]["bare"]


def test_fields_are_checked_and_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="sise"):
        Part(sise=4)
    with pytest.raises(ValidationError, match="frozen"):
        Part().size = 4

"""`Declared`: frozen models whose fields are each declared once, with type, bounds and help."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError

from napari_foundseg.core.errors import SettingsError
from napari_foundseg.core.validation_messages import validation_message

__all__ = ["Declared"]


class Declared(BaseModel):
    """Fields that are validated, frozen, and explained by the string below each.

    pydantic can read those strings too (``use_attribute_docstrings``). But it does so when each class is made, and
    searches all loaded modules for it. That took half of the time in which a window's first form opens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The word for a field in messages.
    noun: ClassVar[str] = "setting"

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Return validated, frozen values. `SettingsError` names each field that is unknown or out of range."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise SettingsError(validation_message(error, cls.noun, cls.model_fields)) from error
        except TypeError as error:
            # It comes from a validator that converts the value; pydantic does not catch it.
            raise SettingsError(f"{cls.__name__}: {error}; got {dict(values)!r:.200}.") from error

    @classmethod
    def label_of(cls, field: str) -> str:
        """Return the label of a field's control: its title, or else its name in words."""
        if title := cls.model_fields[field].title:
            return title
        words = field.replace("min_", "minimum_").replace("max_", "maximum_").replace("_", " ")
        return words[:1].upper() + words[1:]

    @classmethod
    def help_of(cls, field: str) -> str:
        """Return the help of a field.

        Returns
        -------
        str
            The string below the field in this class, or in the nearest base class that has one; empty if none has.
        """
        for owner in cls.__mro__:
            if field in inspect.get_annotations(owner):
                return _strings(owner.__module__).get(owner.__qualname__, {}).get(field, "")
        return ""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return pydantic's schema with the help of each field as its description."""
        schema = handler(core_schema)
        for field, described in handler.resolve_ref_schema(schema).get("properties", {}).items():
            if text := cls.help_of(field):
                described.setdefault("description", text)
        return schema


@cache
def _strings(module: str) -> dict[str, dict[str, str]]:
    """Return the strings below the fields of a module's classes, by class and field; empty without source code."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        return {}
    return {node.name: _below(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _below(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, after in pairwise(node.body):
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            match field:
                case ast.AnnAssign(target=ast.Name(id=name)):
                    found[name] = inspect.cleandoc(str(after.value.value))
    return found

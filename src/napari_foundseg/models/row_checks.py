"""Checks of the values in catalogue rows. They do not use pydantic, whose import is slower than listing all models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import partial
from typing import Any, Final, TypeAlias

from napari_foundseg.core.errors import SettingsError
from napari_foundseg.models.class_sets import MOST_CLASSES, class_set

__all__ = ["check_values"]

#: Takes a value and the name of its field; returns the value in the field's type, or raises ValueError.
_Check: TypeAlias = Callable[[Any, str], Any]


def check_values(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked values for a dataclass's fields, with lists as tuples; SettingsError names the wrong ones."""
    known = {field.name: field for field in fields(kind)}
    required = (f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING)
    wrong = [f"{name}: Field required" for name in required if name not in values]
    wrong += [f"{name}: Extra inputs are not permitted" for name in values if name not in known]
    checked = {}
    for name in (name for name in known if name in values):
        try:
            checked[name] = _CHECKS[str(known[name].type)](values[name], name)
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise SettingsError("; ".join(wrong[:3]))
    return checked


def _wrong(value: Any, place: str, wanted: str) -> ValueError:
    return ValueError(f"{place}: Input should be {wanted}, not {value!r:.60}")


def _text(value: Any, place: str) -> str:
    if isinstance(value, str):
        return value
    raise _wrong(value, place, "a valid string")


def _switch(value: Any, place: str) -> bool:
    if isinstance(value, bool):
        return value
    raise _wrong(value, place, "a valid boolean")


def _number(value: Any, place: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise _wrong(value, place, "a valid number") from None


def _choice(value: Any, place: str, choices: tuple[str, ...]) -> str:
    if value in choices:
        return str(value)
    raise _wrong(value, place, f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}")


def _json(value: Any, place: str) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_json(part, f"{place}.{i}") for i, part in enumerate(value)]
    return _table(value, place)


def _table(value: Any, place: str, check: _Check = _json) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {_text(name, place): check(part, f"{place}.{name}") for name, part in value.items()}
    raise _wrong(value, place, "a valid dictionary")


def _list(value: Any, place: str, check: _Check, count: int | None = None) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(value, place, "a valid tuple")
    if count is not None and len(value) != count:
        raise _wrong(value, place, f"{count} values")
    return tuple(check(part, f"{place}.{i}") for i, part in enumerate(value))


def _classes(value: Any, place: str) -> tuple[str, ...]:
    """Check class names. The name of a set of classes is replaced by its classes."""
    if isinstance(value, str):
        try:
            return class_set(value)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    if isinstance(value, list | tuple) and len(value) > MOST_CLASSES:
        raise ValueError(f"{place}: there are {len(value)}; at most {MOST_CLASSES} are supported")
    return _list(value, place, _text)


def _optional(check: _Check) -> _Check:
    return lambda value, place: None if value is None else check(value, place)


#: Checks by the annotation of a field.
_CHECKS: Final[Mapping[str, _Check]] = {
    "str": _text,
    "bool": _switch,
    "float": _number,
    "float | None": _optional(_number),
    "tuple[str, ...]": partial(_list, check=_text),
    "tuple[float, ...] | None": _optional(partial(_list, check=_number)),
    "tuple[float, float, float] | None": _optional(partial(_list, check=_number, count=3)),
    "dict[str, JsonValue]": _table,
    "dict[str, dict[str, JsonValue]]": partial(_table, check=_table),
    "Classes": _classes,
    "Expected | None": _optional(partial(_choice, choices=("as is", "min to max", "percentile"))),
    "Colours | None": _optional(partial(_choice, choices=("RGB", "grey"))),
}

"""Validation errors of pydantic in plain words."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

__all__ = ["validation_message"]

_LONGEST = 100


def validation_message(error: ValidationError, noun: str = "field", names: Iterable[str] = ()) -> str:
    """Return a message with each wrong field, its value and the expected values.

    Parameters
    ----------
    names : iterable of str
        The valid names, for the message about an unknown one.

    Returns
    -------
    str
        One line that ends with a full stop.
    """
    parts = []
    items = error.errors()
    places = [item["loc"] for item in items]
    for item in items:
        place = item["loc"]
        if item["type"] == "too_short" and any(len(p) > len(place) and p[: len(place)] == place for p in places):
            # It is too short only because pydantic left out its invalid items.
            continue
        name = ".".join(map(str, place)) or "the whole"
        if item["type"] == "extra_forbidden":
            listed = ", ".join(names)
            parts.append(f"{name}: there is no such {noun}" + (f"; the {noun}s are {listed}" if listed else ""))
        elif item["type"] == "missing":
            parts.append(f"{name}: this {noun} is required")
        elif item["type"] == "value_error":
            parts.append(f"{name}: {item['msg'].removeprefix('Value error, ')}")
        else:
            shown = repr(item["input"])
            shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
            parts.append(f"{name} = {shown}: {item['msg']}")
    return "; ".join(part.rstrip(".") for part in parts) + "."

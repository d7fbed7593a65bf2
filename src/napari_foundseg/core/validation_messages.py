"""What pydantic found wrong, in words for a person."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

__all__ = ["in_words"]

_LONGEST = 100


def in_words(error: ValidationError, noun: str = "field", known: Iterable[str] = ()) -> str:
    """Say what is wrong with which field, what was got and what was expected.

    Parameters
    ----------
    error : ValidationError
        What pydantic raised.
    noun : str
        What a field is called.
    known : iterable of str
        The names that there are, to be told where one is unknown.

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
            # It is short only because what is wrong in it was left out.
            continue
        name = ".".join(map(str, place)) or "the whole"
        if item["type"] == "extra_forbidden":
            names = ", ".join(known)
            parts.append(f"{name}: there is no such {noun}" + (f"; the {noun}s are {names}" if names else ""))
        elif item["type"] == "missing":
            parts.append(f"{name}: this {noun} is required")
        elif item["type"] == "value_error":
            parts.append(f"{name}: {item['msg'].removeprefix('Value error, ')}")
        else:
            shown = repr(item["input"])
            shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
            parts.append(f"{name} = {shown}: {item['msg']}")
    return "; ".join(part.rstrip(".") for part in parts) + "."

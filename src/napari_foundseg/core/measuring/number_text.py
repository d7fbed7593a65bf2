"""Numbers and sizes as text for the user."""

from __future__ import annotations

from typing import Any

__all__ = ["number_text", "size_text"]

#: Millilitres in a unit of volume.
_MILLILITRES = {"mm³": 1e-3, "cm³": 1.0}


def number_text(value: Any) -> str:
    """Return a number with thousands separators and about four digits; powers of ten only for very large numbers."""
    number = float(value)
    if number != number:
        return ""
    size = abs(number)
    if size >= 1e15:
        return f"{number:.4g}"
    if number.is_integer():
        return f"{int(number):,}"
    return f"{number:,.0f}" if size >= 1000 else f"{number:.4g}"


def size_text(value: float, unit: str) -> str:
    """Return a measurement with its unit, such as ``193,559 mm³ (193.6 ml)``."""
    text = f"{number_text(value)} {unit}"
    millilitres = value * _MILLILITRES.get(unit, 0.0)
    return f"{text} ({number_text(millilitres)} ml)" if millilitres >= 1 else text

"""Units as the formats spell them, and as this package does: by symbols such as ``µm``."""

from __future__ import annotations

__all__ = ["is_known_unit", "unit_name", "unit_symbol"]

#: Names of OME-Zarr, which has no symbols.
_NAMES = {
    "pm": "picometer",
    "Å": "angstrom",
    "nm": "nanometer",
    "µm": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "dm": "decimeter",
    "m": "meter",
    "km": "kilometer",
    "in": "inch",
    "ft": "foot",
    "ns": "nanosecond",
    "µs": "microsecond",
    "ms": "millisecond",
    "s": "second",
    "min": "minute",
    "h": "hour",
    "d": "day",
}
_SYMBOLS = {name: symbol for symbol, name in _NAMES.items()} | {
    "micron": "µm",
    "microns": "µm",
    "um": "µm",
    "\\u00B5m": "µm",
    "μm": "µm",
    "sec": "s",
}


def unit_symbol(name: str) -> str:
    """Return how a unit is written here.

    Parameters
    ----------
    name : str
        As a file spells it.

    Returns
    -------
    str
        Such as ``µm``; the name itself where the unit is not known.
    """
    return _SYMBOLS.get(name, name)


def unit_name(symbol: str) -> str:
    """Return a unit's name in OME-Zarr.

    Parameters
    ----------
    symbol : str
        As it is written here.

    Returns
    -------
    str
        Such as ``micrometer``; the symbol itself where the unit is not known.
    """
    return _NAMES.get(symbol, symbol)


def is_known_unit(symbol: str) -> bool:
    """Tell whether a unit is one that others know by its symbol, too.

    Parameters
    ----------
    symbol : str
        As it is written here.

    Returns
    -------
    bool
        True for the usual lengths and times.
    """
    return symbol in _NAMES

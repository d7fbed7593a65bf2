"""Units of length and time: names in the file formats, symbols such as ``µm`` in this package."""

from __future__ import annotations

__all__ = ["is_known_unit", "unit_name", "unit_symbol"]

#: OME-Zarr spells units by name.
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
    """Return the symbol of a unit, such as ``µm``, as a file spells it; the name itself if the unit is unknown."""
    return _SYMBOLS.get(name, name)


def unit_name(symbol: str) -> str:
    """Return the name of a unit in OME-Zarr, such as ``micrometer``; the symbol itself if the unit is unknown."""
    return _NAMES.get(symbol, symbol)


def is_known_unit(symbol: str) -> bool:
    """Tell whether a symbol is one of the usual lengths and times, which napari knows too."""
    return symbol in _NAMES

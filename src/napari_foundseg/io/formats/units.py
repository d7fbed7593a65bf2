"""Units of length and time: names in the file formats, and symbols such as ``µm`` in this package.

One table serves reading and writing. A unit that is not in it is stored unchanged in a field of this package, in
addition to the format's own field, which is ``reference frame`` in OME-TIFF.
"""

from __future__ import annotations

import re
from typing import Literal

__all__ = ["in_metres", "is_known_unit", "ome_unit", "unit_name", "unit_symbol"]

_PREFIXES = {
    "Y": ("yotta", 24),
    "Z": ("zetta", 21),
    "E": ("exa", 18),
    "P": ("peta", 15),
    "T": ("tera", 12),
    "G": ("giga", 9),
    "M": ("mega", 6),
    "k": ("kilo", 3),
    "h": ("hecto", 2),
    "da": ("deca", 1),
    "": ("", 0),
    "d": ("deci", -1),
    "c": ("centi", -2),
    "m": ("milli", -3),
    "µ": ("micro", -6),
    "n": ("nano", -9),
    "p": ("pico", -12),
    "f": ("femto", -15),
    "a": ("atto", -18),
    "z": ("zepto", -21),
    "y": ("yocto", -24),
}
#: Names of OME-Zarr by symbols of OME-XML.
_LENGTHS = {f"{prefix}m": f"{name}meter" for prefix, (name, _) in _PREFIXES.items()} | {
    "Å": "angstrom",
    "in": "inch",
    "ft": "foot",
    "yd": "yard",
    "mi": "mile",
    "pc": "parsec",
}
_TIMES = {f"{prefix}s": f"{name}second" for prefix, (name, _) in _PREFIXES.items()} | {
    "min": "minute",
    "h": "hour",
    "d": "day",
}
#: Lengths of OME-XML; OME-Zarr and napari do not have the ones that are added here.
_OME_LENGTHS = {*_LENGTHS, "thou", "li", "ua", "ly", "pt", "pixel"}
#: OME-Zarr has no decametres or decaseconds, and napari does not accept "as" for attoseconds.
_WITHOUT_NAME = {"dam", "das"}
_NOT_IN_NAPARI = {"as"}
_METRES = {f"{prefix}m": 10.0**power for prefix, (_, power) in _PREFIXES.items()} | {
    "Å": 1e-10,
    "in": 0.0254,
    "ft": 0.3048,
    "yd": 0.9144,
    "mi": 1609.344,
}
#: Other spellings, in lower case and without a plural s.
_SPELLINGS = {
    "": "pixel",
    "px": "pixel",
    "pixel": "pixel",
    "reference frame": "pixel",
    "micron": "µm",
    "um": "µm",
    "inche": "in",
    "feet": "ft",
    "sec": "s",
    "msec": "ms",
    "usec": "µs",
    "us": "µs",
    "hr": "h",
}
_SPELLINGS |= {name: symbol for symbol, name in (_LENGTHS | _TIMES).items()}
_SPELLINGS |= {name.replace("meter", "metre"): symbol for symbol, name in _LENGTHS.items()}
#: Escapes that ImageJ and this package write for characters other than ASCII.
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})")


def unit_symbol(name: str) -> str:
    """Return the symbol, such as ``µm``, for a file's spelling of a unit; the spelling itself for unknown units."""
    plain = _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), name).strip()
    # The Greek letter mu and the Ångström sign look like the letters of the symbols.
    plain = plain.replace("\u03bc", "µ").replace("\u212b", "Å").replace("A\u030a", "Å")
    if plain in _OME_LENGTHS or plain in _TIMES:
        return plain
    lower = plain.lower()
    return _SPELLINGS.get(lower) or _SPELLINGS.get(lower.removesuffix("s")) or plain


def unit_name(symbol: str) -> str:
    """Return the name of a unit in OME-Zarr, such as ``micrometer``; empty if it has none."""
    return "" if symbol in _WITHOUT_NAME else (_LENGTHS | _TIMES).get(symbol, "")


def ome_unit(symbol: str, kind: Literal["length", "time"]) -> str:
    """Return a unit that OME-XML accepts: ``reference frame`` for unsupported lengths, empty for unsupported times."""
    if kind == "time":
        return symbol if symbol in _TIMES else ""
    return symbol if symbol in _OME_LENGTHS else "reference frame"


def in_metres(symbol: str) -> float | None:
    """Return the length of a unit in metres; None for other units."""
    return _METRES.get(symbol)


def is_known_unit(symbol: str) -> bool:
    """Tell whether a symbol is a length or time that napari supports too."""
    return symbol not in _NOT_IN_NAPARI and (symbol in _LENGTHS or symbol in _TIMES)

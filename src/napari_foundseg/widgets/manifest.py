"""``python -m napari_foundseg.widgets.manifest``: write the parts of ``napari.yaml`` that are made from tables.

napari reads the manifest without importing anything, so docks and file formats are listed there as text. This module
writes the lines from ``# made: NAME`` to ``# end: NAME``; all other lines are written by hand.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import napari_foundseg
from napari_foundseg.io.formats.table import label_endings
from napari_foundseg.io.naming import label_patterns
from napari_foundseg.widgets.menu import dock_entries

__all__ = ["COMMAND", "PATH", "updated_manifest"]

#: The manifest of this package.
PATH = Path(napari_foundseg.__file__).with_name("napari.yaml")
#: The command that updates the manifest.
COMMAND = "python -m napari_foundseg.widgets.manifest"

_PLUGIN = "napari-foundseg"
_SECTION = re.compile(r"^( *)# made: (.+)\n(?:.*\n)*?\1# end: \2\n", re.MULTILINE)


def updated_manifest(text: str) -> str:
    """Return a manifest's text with its generated parts updated from the tables."""
    sections = {
        "commands of docks": _commands(),
        "patterns of labels files": [f"filename_patterns: {json.dumps(label_patterns())}"],
        "endings of labels files": [f"filename_extensions: {json.dumps(list(label_endings()))}"],
        "docks": _docks(),
        "menus of docks": _menus(),
    }
    found = [match[2] for match in _SECTION.finditer(text)]
    if sorted(found) != sorted(sections):
        raise ValueError(f"napari.yaml has the made parts {found}, not {list(sections)}; put their lines back")

    def section(match: re.Match[str]) -> str:
        indent, name = match.groups()
        lines = [f"# made: {name}", *sections[name], f"# end: {name}"]
        return "".join(f"{indent}{line}\n" for line in lines)

    return _SECTION.sub(section, text)


def _commands() -> list[str]:
    lines = []
    for entry in dock_entries():
        lines += [
            f"- id: {_PLUGIN}.{entry.name}",
            f"  title: {entry.title}",
            f"  python_name: napari_foundseg.widgets.menu:{entry.opener}",
        ]
    return lines


def _docks() -> list[str]:
    lines = []
    for entry in dock_entries():
        lines += [f"- command: {_PLUGIN}.{entry.name}", f"  display_name: {entry.title}"]
    return lines


def _menus() -> list[str]:
    menus = defaultdict(list)
    for entry in dock_entries():
        for menu in entry.menus:
            menus[menu].append(f"  - command: {_PLUGIN}.{entry.name}")
    lines = []
    for menu, commands in menus.items():
        lines += [f"napari/layers/{menu}:", *commands]
    return lines


if __name__ == "__main__":
    PATH.write_text(updated_manifest(PATH.read_text(encoding="utf-8")), encoding="utf-8")

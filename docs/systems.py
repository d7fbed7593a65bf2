"""Write docs/systems.md, the state of all model systems, from docs/systems.toml and the catalogue.

python docs/systems.py
"""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from napari_foundseg.models.catalog import packaged
from napari_foundseg.models.families import family_module

DOCS = Path(__file__).parent
OUT = DOCS / "systems.md"
HEAD = ("System", "State", "How", "Licence of the weights", "Verified against", "What is missing")


def line(system: dict[str, Any]) -> list[str]:
    """Return the cells of a system."""
    rows = [row for row in packaged().values() if any(fnmatch(row.name, one) for one in system.get("rows", ()))]
    imported = {*([system["family"]] if isinstance(system.get("family"), str) else system.get("family", ()))}
    if unknown := [one for one in system.get("rows", ()) if not any(fnmatch(row.name, one) for row in rows)]:
        raise ValueError(f"{system['name']}: no row of the catalogue is called {', '.join(unknown)}")
    families = sorted({row.family for row in rows} | imported)
    state = "missing" if not families else "partly" if "partly" in system else "works"
    how = ", ".join(f"`{row.name}`" for row in rows) or ("import" if imported else "")
    how += f"; {system['note']}" if "note" in system else ""
    licences = ", ".join(sorted({row.weights_licence for row in rows})) or ("as the file's" if imported else "")
    against = "; ".join(dict.fromkeys(family_module(name).FAMILY.verified_against for name in families))
    return [system["name"], state, how, licences, against, system.get("missing") or system.get("partly", "")]


def page() -> str:
    """Return the page."""
    systems = tomllib.loads((DOCS / "systems.toml").read_text("utf-8"))["system"]
    cells = [line(system) for system in systems]
    works = sum(one[1] == "works" for one in cells)
    partly = sum(one[1] == "partly" for one in cells)
    lines = [HEAD, ("---",) * len(HEAD), *cells]
    table = "".join(f"| {' | '.join(one)} |\n" for one in lines)
    about = (
        f"Of the {len(cells)} systems that the plugin is meant to run, {works} work and {partly} do in part. "
        "All models that can be had are in\nthe [table of models](guide/models.md). "
        "This page is written by `python docs/systems.py`."
    )
    return f"# Model systems\n\n{about}\n\n{table}"


if __name__ == "__main__":
    OUT.write_text(page(), "utf-8")

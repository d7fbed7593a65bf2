"""Draw docs/developer/map.svg, the layers of the package, from the import contracts in pyproject.toml.

python docs/draw_map.py
"""

from __future__ import annotations

import tomllib
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent
OUT = DOCS / "developer" / "map.svg"
#: What each package is for, and what it must not import.
ABOUT = {
    "widgets": "forms, layers, keys in napari",
    "cli": "the command line",
    "batch": "a recipe over many images",
    "engine": "the process that runs models",
    "tasks": "what the user runs",
    "models": "families, catalogue, weights",
    "io": "files in, files out",
    "core": "images, prompts, masks, labels, results",
}
WIDTH, HEIGHT, GAP, LEFT = 720, 46, 14, 150
BANDS = {
    "napari and Qt": (("widgets",), "#56b4e9"),
    "torch": (("engine", "tasks", "models"), "#e69f00"),
    "NumPy": (("batch", "cli", "io", "core"), "#009e73"),
}


def layers() -> list[list[str]]:
    """Return the packages of each layer, the upper ones first."""
    settings = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    rows = next(c["layers"] for c in contracts if c["type"] == "layers" and "containers" not in c)
    return [[name.strip().rpartition(".")[2] for name in row.split("|")] for row in rows]


def svg() -> str:
    """Return the drawing."""
    rows, parts = layers(), []
    for number, names in enumerate(rows):
        y = 20 + number * (HEIGHT + GAP)
        width = (WIDTH - LEFT - GAP * (len(names) - 1)) / len(names)
        for place, name in enumerate(names):
            x = LEFT + place * (width + GAP)
            colour = next((c for members, c in BANDS.values() if name in members), "#999999")
            parts.append(f'<rect x="{x:g}" y="{y}" width="{width:g}" height="{HEIGHT}" rx="6" fill="{colour}"/>')
            parts.append(f'<text x="{x + 12:g}" y="{y + 20}" font-weight="bold">{escape(name)}</text>')
            parts.append(f'<text x="{x + 12:g}" y="{y + 37}" font-size="12">{escape(ABOUT.get(name, ""))}</text>')
    bottom = 20 + len(rows) * (HEIGHT + GAP)
    parts.append(f'<path d="M 128 24 V {bottom - GAP - 8}" stroke="#888" stroke-width="2" marker-end="url(#arrow)"/>')
    parts.append(
        '<text x="8" y="40" fill="#888">an import goes</text><text x="8" y="58" fill="#888">down, never up</text>'
    )
    for number, (name, (_, colour)) in enumerate(BANDS.items()):
        y = 90 + 24 * number
        parts.append(f'<rect x="8" y="{y}" width="14" height="14" rx="3" fill="{colour}"/>')
        parts.append(f'<text x="28" y="{y + 12}" font-size="12" fill="#888">{escape(name)}</text>')
    arrow = '<marker id="arrow" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
    arrow += '<path d="M 0 0 L 8 4 L 0 8 z" fill="#888"/></marker>'
    box = f'viewBox="0 0 {WIDTH + 10} {bottom}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="15">'
    return "\n".join([head, f"<defs>{arrow}</defs>", *parts, "</svg>", ""])


if __name__ == "__main__":
    OUT.write_text(svg(), "utf-8")

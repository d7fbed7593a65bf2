"""Write tests/data/geff/layout.json: groups, arrays and metadata of a GEFF that the package geff itself writes.

Needs geff 1.3.1 in an environment of its own, since it asks for numcodecs below 0.16, and nothing of this package:

python tests/oracles/geff_layout.py

With a GEFF of ours as its argument it reads that with all checks that geff has:

python tests/oracles/geff_layout.py a.geff
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import geff
import networkx as nx
import zarr
from geff.validate.data import ValidationConfig

OUT = Path(__file__).parents[1] / "data" / "geff" / "layout.json"


def lineage() -> Any:
    """Return two frames of a cell and one of its daughters."""
    graph = nx.DiGraph()
    for node, (t, y, x, track) in enumerate([(0, 3.5, 4.0, 1), (1, 4.0, 4.5, 1), (2, 3.0, 2.5, 2), (2, 5.0, 6.5, 3)]):
        graph.add_node(node, t=t, y=y, x=x, track_id=track)
    for one, other in [(0, 1), (1, 2), (1, 3)]:
        graph.add_edge(one, other, frames=1)
    return graph


def layout(path: Path) -> dict[str, Any]:
    """Return the kinds and types of all that a GEFF holds, and its metadata."""
    group = zarr.open_group(path, mode="r")
    parts = {}
    for name, part in group.members(max_depth=None):
        parts[name] = {"dtype": part.dtype.name, "ndim": part.ndim} if isinstance(part, zarr.Array) else "group"
    return {"parts": parts, "zarr_format": group.metadata.zarr_format, "metadata": group.attrs["geff"]}


def main() -> None:
    if len(sys.argv) > 1:
        checks = ValidationConfig(graph=True, tracklet=True)
        graph, metadata = geff.read(sys.argv[1], structure_validation=True, data_validation=checks)
        sys.stdout.write(
            f"{graph.number_of_nodes()} nodes, {graph.number_of_edges()} edges, {[a.name for a in metadata.axes]}\n"
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.geff")
        geff.write(
            lineage(), path, axis_names=["t", "y", "x"], axis_types=["time", "space", "space"],
            axis_units=["frame", "pixel", "pixel"], axis_scales=[60.0, 0.5, 0.5],
            scaled_units=["second", "micrometer", "micrometer"],
        )  # fmt: skip
        OUT.parent.mkdir(exist_ok=True)
        OUT.write_text(json.dumps(layout(path), indent=1) + "\n")


if __name__ == "__main__":
    main()

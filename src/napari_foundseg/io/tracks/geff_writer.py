"""GEFF, the graph exchange file format: an object in a frame is a node, a link from frame to frame an edge.

It is written with zarr alone, because the package ``geff`` needs an older numcodecs than OME-Zarr can safely be read
with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.films.lineage import Lineage
from napari_foundseg.core.films.spots import Spots
from napari_foundseg.io.atomic import atomic_folder
from napari_foundseg.io.files.zarr_folder import zarr_folder
from napari_foundseg.io.formats.units import unit_name

__all__ = ["lineage_edges", "write_geff"]

_VERSION = "1.3"


def lineage_edges(spots: Spots, lineage: Lineage) -> NDArray[np.int64]:
    """Return the links of objects, (k, 2): along each track, and from each parent's last object to a daughter's first.

    Objects are numbered as in `spots`.
    """
    order = np.lexsort((spots.frame, spots.label))
    same = np.flatnonzero(np.diff(spots.label[order]) == 0)
    along = np.stack([order[same], order[same + 1]], axis=1)
    starts = np.flatnonzero(np.diff(spots.label[order], prepend=-1))
    ends = np.append(starts[1:], len(order))[: len(starts)] - 1
    first = dict(zip(spots.label[order][starts].tolist(), order[starts].tolist(), strict=True))
    last = dict(zip(spots.label[order][starts].tolist(), order[ends].tolist(), strict=True))
    born = [(last[parent], first[child]) for child, parent in sorted(lineage.parents.items())]
    return np.concatenate([along, np.array(born, np.int64).reshape(-1, 2)]).astype(np.int64)


def write_geff(
    path: Path, spots: Spots, lineage: Lineage, axes: str, spacing: Mapping[str, float], units: Mapping[str, str]
) -> None:
    """Write the objects of labels whose ids are tracks.

    Parameters
    ----------
    path : Path
        The folder. It gets its name when it is complete.
    spots : Spots
        The objects.
    lineage : Lineage
        Their tracks.
    axes : str
        The axes of a frame, ``YX`` or ``ZYX``.
    spacing, units : mapping
        Size of a pixel along each axis, T included, and its unit.

    Notes
    -----
    Positions are in pixels and frames. ``scale`` and ``scaled_unit`` of an axis have its size.
    """
    import zarr

    edges = lineage_edges(spots, lineage)
    nodes: dict[str, NDArray[Any]] = {"t": spots.frame.astype(np.int64)}
    nodes |= {axis.lower(): spots.centre[:, i].astype(np.float64) for i, axis in enumerate(axes)}
    parents = [lineage.parents.get(label, 0) for label in spots.label.tolist()]
    nodes |= {
        "track_id": spots.label.astype(np.uint64),
        "parent": np.array(parents, np.uint64),
        "area": spots.area.astype(np.uint64),
    }
    steps = {"frames": spots.frame[edges[:, 1]] - spots.frame[edges[:, 0]]}
    described = [_axis("t", nodes["t"], "T", spacing, units)]
    described += [_axis(axis.lower(), nodes[axis.lower()], axis, spacing, units) for axis in axes]
    mothers = list(lineage.parents.values())
    # A tracklet of the format continues through a single daughter.
    parted = all(mothers.count(mother) > 1 for mother in set(mothers))
    metadata = {
        "geff_version": _VERSION,
        "directed": True,
        "axes": described,
        "node_props_metadata": {name: _property(name, values, _ABOUT.get(name)) for name, values in nodes.items()},
        "edge_props_metadata": {name: _property(name, values, _ABOUT[name]) for name, values in steps.items()},
        "track_node_props": {"tracklet": "track_id"} if parted else None,
        "extra": {},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(path) as folder, zarr_folder(folder) as store:
        group = zarr.create_group(store, zarr_format=2, attributes={"geff": metadata})
        of_nodes = group.create_group("nodes")
        of_edges = group.create_group("edges")
        _array(of_nodes, "ids", np.arange(len(spots), dtype=np.uint64))
        _array(of_edges, "ids", edges.astype(np.uint64))
        for parent, values in ((of_nodes, nodes), (of_edges, steps)):
            props = parent.create_group("props")
            for name, column in values.items():
                _array(props.create_group(name), "values", column)


#: Descriptions of properties whose names are not clear.
_ABOUT = {
    "track_id": "the track, which is the label",
    "parent": "the track that divided into this one; 0 for none",
    "area": "pixels of the object in this frame",
    "frames": "frames from one object to the next; more than 1 over a gap",
}


def _array(group: Any, name: str, values: NDArray[Any]) -> None:
    array = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=_chunks(values.shape))
    array[...] = values


def _chunks(shape: Sequence[int]) -> tuple[int, ...]:
    return (max(1, min(shape[0], 1 << 18)), *shape[1:])


def _property(name: str, values: NDArray[Any], about: str | None) -> dict[str, Any]:
    described = {"description": about} if about else {}
    return {"identifier": name, "dtype": values.dtype.name, "varlength": False, **described}


def _axis(
    name: str, values: NDArray[Any], axis: str, spacing: Mapping[str, float], units: Mapping[str, str]
) -> dict[str, Any]:
    out: dict[str, Any] = {"name": name, "type": "time" if axis == "T" else "space"}
    out["unit"] = "frame" if axis == "T" else "pixel"
    if len(values):
        out |= {"min": float(values.min()), "max": float(values.max())}
    unit = units.get(axis, "")
    if axis in spacing and unit not in ("", "pixel"):
        out |= {"scale": float(spacing[axis]), "scaled_unit": unit_name(unit) or unit}
    return out

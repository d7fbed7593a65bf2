"""The meaning of a package's output, from its description and its test arrays."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.bioimageio.package_files import PackageFiles
from napari_foundseg.models.bioimageio.rdf import ModelFacts, Tensor
from napari_foundseg.models.onnx_networks.ports import PictureInput

__all__ = ["example_array", "map_count", "stated", "suggested"]


_BOUNDARY = re.compile(r"bound|border|edge|membrane|outline|contour", re.IGNORECASE)
_BACKGROUND = re.compile(r"background", re.IGNORECASE)
_FLOW = re.compile(r"flow|\bd?[yx]\b", re.IGNORECASE)
_AFFINITY = re.compile(r"affinit", re.IGNORECASE)
#: Names of channels without a meaning.
_NUMBERED = re.compile(r"(channel|class|output|ch|c)?[ _-]*\d+", re.IGNORECASE)
#: Steps whose result does not depend on the brightness of a picture.
_RELATIVE = {"scale_range", "zero_mean_unit_variance"}
_TO_PROBABILITIES = {"sigmoid", "softmax"}
_LEAST_SIZE = 512


def map_count(facts: ModelFacts, tensor: Tensor) -> int | None:
    """Return the number of maps in an output; None if neither the description nor the test array states it."""
    channel = tensor.axis("c")
    if channel is None:
        return 1
    if channel.names or not channel.step:
        return channel.least
    array = example_array(facts, tensor)
    return array.shape[tensor.letters.index("c")] if array is not None else None


def stated(facts: ModelFacts, tensor: Tensor, count: int | None) -> dict[str, Any]:
    """Return the facts that a package states about its output; raise CheckpointError for affinities.

    No objects are made from affinities here, so they would have no use.
    """
    names = _names(tensor)
    if _AFFINITY.search(" ".join((tensor.name, *names))):
        raise CheckpointError(
            f"{facts.path} returns affinities of neighbouring pixels ({tensor.name!r:.60}), of which no objects are "
            "made here. Choose a model that returns foreground and boundaries, or classes."
        )
    said: dict[str, Any] = {}
    if tensor.values:
        said |= {"output": "class numbers", "classes": ", ".join(tensor.values)}
    elif names and _is_object_and_boundary(names):
        said["output"] = "object and boundary"
    elif len(names) == 3 and all(_FLOW.search(name) for name in names[:2]):
        said["output"] = "flows"
    elif len(names) == 1 and count == 1:
        said["output"] = "object"
    elif names:
        said |= {"output": "classes", "classes": ", ".join(names)}
    if tensor.steps and any(step.name in _TO_PROBABILITIES for step in tensor.steps):
        said["values"] = "probabilities"
    return said


def suggested(facts: ModelFacts, tensor: Tensor, count: int | None, port: PictureInput) -> dict[str, Any]:
    """Guess the facts that a package does not state, or states only in its description text."""
    fits: dict[str, Any] = {"values": "probabilities" if _is_share(facts, tensor) else "scores"}
    words = f"{facts.words} {tensor.words}"
    if tensor.kind.startswith(("int", "uint")) and count == 1:
        fits["output"] = "class numbers"
    elif count == 1:
        fits["output"] = "object"
    elif count in (2, 3) and _BOUNDARY.search(words):
        fits["output"] = "object and boundary"
    picture = facts.inputs[0]
    relative = any(step.name in _RELATIVE and step.arguments.get("mode") != "fixed" for step in picture.steps)
    fits["contrast"] = "percentile" if relative else "as is"
    if not port.size:
        array = example_array(facts, picture)
        side = min(array.shape[picture.letters.index(letter)] for letter in "yx") if array is not None else 0
        fits["size"] = min(4096, max(_LEAST_SIZE, side))
    return fits


def example_array(facts: ModelFacts, tensor: Tensor) -> NDArray[Any] | None:
    """Return the test array of an input or output; None if the package has none, or none that can be read.

    Raises CheckpointError if the hash differs from the one in the description.
    """
    name, sha256 = tensor.test
    files = PackageFiles(facts.path)
    if not name or "://" in name or not files.has(name):
        return None
    try:
        array = np.load(io.BytesIO(files.checked(name, sha256)), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError):
        return None
    return array if isinstance(array, np.ndarray) and array.ndim == len(tensor.axes) else None


def _names(tensor: Tensor) -> tuple[str, ...]:
    """Return the names of the channels; empty if they have no meaning."""
    channel = tensor.axis("c")
    names = channel.names if channel else ()
    return () if any(_NUMBERED.fullmatch(name) for name in names) or len(set(names)) < len(names) else names


def _is_object_and_boundary(names: tuple[str, ...]) -> bool:
    """Return whether two maps are objects and boundaries. Three maps may have the background first."""
    if len(names) == 3 and _BACKGROUND.search(names[0]):
        names = names[1:]
    return len(names) == 2 and bool(_BOUNDARY.search(names[1])) and not _BOUNDARY.search(names[0])


def _is_share(facts: ModelFacts, tensor: Tensor) -> bool:
    """Return whether all values are from 0 to 1, according to the test array or else to the stated range."""
    array = example_array(facts, tensor)
    if array is not None and array.size and np.issubdtype(array.dtype, np.floating):
        return bool(np.nanmin(array) >= 0 and np.nanmax(array) <= 1)
    return tensor.range == (0.0, 1.0)
